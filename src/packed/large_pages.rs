//! Memory for packed matrices, in large pages where the system has them.

use memmap2::MmapMut;
use rayon::prelude::*;

use crate::kernels::cache_line::CacheLine;

/// From this size on, in bytes, the memory is requested in large pages. A stream through small pages waits for address
/// translation, which under virtualisation costs up to half of the bandwidth.
const LARGE: usize = 2 << 20;

/// The cache lines of a packed matrix, zero at first.
#[derive(Debug)]
pub(super) enum PackedLines {
    Small(Vec<CacheLine>),
    Large { map: MmapMut, bytes: usize },
}

impl PackedLines {
    /// Allocates `count` lines.
    pub fn zeroed(count: usize) -> Self {
        let bytes = count * size_of::<CacheLine>();
        let map = if bytes >= LARGE { MmapMut::map_anon(bytes).ok() } else { None };
        match map {
            Some(map) => {
                // A system that ignores this advice changes nothing but the speed.
                #[cfg(target_os = "linux")]
                let _ = map.advise(memmap2::Advice::HugePage);
                PackedLines::Large { map, bytes }
            }
            None => PackedLines::Small(vec![CacheLine([0; CacheLine::LEN]); count]),
        }
    }

    /// Gives all lines.
    pub fn as_slice(&self) -> &[CacheLine] {
        match self {
            PackedLines::Small(lines) => lines,
            PackedLines::Large { map, bytes } => bytemuck::cast_slice(&map[..*bytes]),
        }
    }

    fn as_mut_slice(&mut self) -> &mut [CacheLine] {
        match self {
            PackedLines::Small(lines) => lines,
            PackedLines::Large { map, bytes } => bytemuck::cast_slice_mut(&mut map[..*bytes]),
        }
    }

    /// Writes consecutive parts of `part` lines each with `write`, which gets the index of the part and its lines: on
    /// the current pool, or on the calling thread alone if `threads` is 1.
    pub fn write_parts(
        &mut self,
        part: usize,
        threads: usize,
        write: impl Fn((usize, &mut [CacheLine])) + Send + Sync,
    ) {
        let lines = self.as_mut_slice();
        if threads == 1 {
            lines.chunks_mut(part).enumerate().for_each(write);
        } else {
            lines.par_chunks_mut(part).enumerate().for_each(write);
        }
    }

    /// Counts the bytes of all lines.
    pub fn bytes(&self) -> usize {
        size_of_val(self.as_slice())
    }
}

impl Clone for PackedLines {
    fn clone(&self) -> Self {
        let mut copy = PackedLines::zeroed(self.as_slice().len());
        copy.as_mut_slice().copy_from_slice(self.as_slice());
        copy
    }
}

impl PartialEq for PackedLines {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}
