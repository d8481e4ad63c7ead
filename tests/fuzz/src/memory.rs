//! The caller's memory: one small arena that all pointers point into, or nowhere.

use std::ffi::c_char;
use std::ptr;

use arbitrary::Arbitrary;

/// Bytes of the arena: room for the sizes of a tiny layer, and for its bytes.
const BYTES: usize = 4096;

/// Bytes that calls may write: behind them stands the end of every text.
const USABLE: usize = BYTES - 8;

/// What the arena holds at first.
#[derive(Arbitrary, Debug)]
pub enum Fill {
    /// Small numbers of this dtype.
    Numbers { dtype: u8, seed: u8 },
    /// Any bytes, repeated.
    Bytes(Vec<u8>),
}

/// Where a pointer points: mostly to a word of the arena.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Place {
    kind: u8,
    at: u16,
}

/// What a [`Place`] means.
enum Target {
    Null,
    /// Bytes from the arena's start.
    Arena(usize),
    /// Close below the end of the address space.
    Last(usize),
}

impl Place {
    fn target(self) -> Target {
        let at = usize::from(self.at);
        match self.kind {
            0..8 => Target::Null,
            8..16 => Target::Last(at % 256),
            16..48 => Target::Arena(at % USABLE),
            _ => Target::Arena(at % 256 * 8),
        }
    }
}

/// How many elements are said to be there: mostly as many as the call takes.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct Count {
    kind: u8,
    few: u16,
}

pub struct Memory {
    words: Box<[u64; BYTES / 8]>,
}

impl Memory {
    pub fn new(fill: &Fill) -> Self {
        let mut words = Box::new([0_u64; BYTES / 8]);
        let mut state = match fill {
            Fill::Numbers { seed, .. } => u64::from(*seed),
            Fill::Bytes(_) => 0,
        };
        for (index, word) in words.iter_mut().enumerate() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = f64::from((state >> 60) as u8) + 0.5;
            *word = match fill {
                Fill::Numbers { dtype, .. } => match dtype % 4 {
                    0 => u64::from((number as f32).to_bits()) * 0x1_0000_0001,
                    1 => number.to_bits(),
                    // The same sixteen bits four times: numbers in both half types.
                    _ => (0x3c00 + (state >> 56)) * 0x0001_0001_0001_0001,
                },
                Fill::Bytes(bytes) if bytes.is_empty() => 0,
                Fill::Bytes(bytes) => u64::from_le_bytes(std::array::from_fn(|i| bytes[(8 * index + i) % bytes.len()])),
            };
        }
        words[USABLE / 8] = 0;
        Memory { words }
    }

    /// A pointer to `len` elements, or NULL where neither the arena holds them nor the ABI can see that it does not.
    pub fn pointer<T>(&mut self, place: Place, len: usize) -> *mut T {
        let bytes = len.saturating_mul(size_of::<T>());
        let beyond = bytes > isize::MAX as usize;
        let start = self.words.as_mut_ptr().cast::<u8>();
        match place.target() {
            Target::Last(below) if beyond || bytes > below => ptr::without_provenance_mut(usize::MAX - below),
            Target::Arena(offset) if beyond || bytes <= USABLE - offset => start.wrapping_add(offset).cast(),
            _ => ptr::null_mut(),
        }
    }

    /// The bytes that a pointer of [`Memory::pointer`] leads to, where they are in the arena.
    pub fn holds(&self, pointer: *const u8, len: usize) -> Option<&[u8]> {
        let offset = pointer.addr().checked_sub(self.words.as_ptr().addr())?;
        bytemuck::cast_slice::<u64, u8>(self.words.as_slice()).get(offset..offset.checked_add(len)?)
    }

    /// A text in the arena: it ends at the last byte, if not before.
    pub fn text(&mut self, place: Place) -> *const c_char {
        self.pointer::<c_char>(place, 1)
    }

    /// A number of elements of a type at a place. `right` is what the call takes, if that is one number; otherwise it
    /// takes all that the arena holds from there on.
    pub fn count<T>(place: Place, count: Count, right: Option<usize>) -> usize {
        let room = match place.target() {
            Target::Arena(offset) => (USABLE - offset) / size_of::<T>(),
            Target::Null | Target::Last(_) => 0,
        };
        let few = usize::from(count.few);
        match count.kind {
            0..16 => usize::MAX - few % 256,
            16..48 => few,
            48..80 => room.saturating_sub(few % 256),
            _ => right.unwrap_or(room),
        }
    }

    pub fn words(&self) -> &[u64] {
        self.words.as_slice()
    }
}
