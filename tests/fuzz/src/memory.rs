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

/// Where a pointer points.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Place {
    Null,
    /// A multiple of eight bytes from the arena's start.
    Aligned(u8),
    /// Any byte of the arena.
    Any(u16),
    /// Close below the end of the address space.
    Last(u8),
}

/// How many elements are said to be there.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Count {
    /// As many as the arena holds from the pointer on, or some less.
    Rest(u8),
    /// Any few.
    Few(u16),
    /// More than there can be.
    Huge(u8),
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
        match place {
            Place::Last(below) if beyond || bytes > below.into() => {
                ptr::without_provenance_mut(usize::MAX - usize::from(below))
            }
            Place::Aligned(_) | Place::Any(_) if beyond || bytes <= USABLE - Self::offset(place) => {
                start.wrapping_add(Self::offset(place)).cast()
            }
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

    fn offset(place: Place) -> usize {
        match place {
            Place::Null | Place::Last(_) => USABLE,
            Place::Aligned(word) => 8 * usize::from(word),
            Place::Any(byte) => usize::from(byte) % USABLE,
        }
    }

    /// A number of elements of a type at a place.
    pub fn count<T>(place: Place, count: Count) -> usize {
        let room = (USABLE - Self::offset(place)) / size_of::<T>();
        match count {
            Count::Huge(less) => usize::MAX - usize::from(less),
            Count::Rest(less) => room.saturating_sub(less.into()),
            Count::Few(few) => few.into(),
        }
    }

    pub fn words(&self) -> &[u64] {
        self.words.as_slice()
    }
}
