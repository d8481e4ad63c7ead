//! Memory for packed matrices: in large pages where the system has them.

use crate::kernels::cache_line::CacheLine;
use memmap2::MmapMut;

/// From this size on the system is asked for large pages. A stream through small ones waits for their translation,
/// which under virtualisation costs up to half of the bandwidth.
const LARGE: usize = 2 << 20;

/// Cache lines, zero at first.
#[derive(Debug)]
pub(super) enum Lines {
    Small(Vec<CacheLine>),
    Large { map: MmapMut, bytes: usize },
}

impl Lines {
    /// Takes memory for `count` lines.
    pub fn zeroed(count: usize) -> Self {
        let bytes = count * size_of::<CacheLine>();
        let map = if bytes >= LARGE { MmapMut::map_anon(bytes).ok() } else { None };
        match map {
            Some(map) => {
                // Advice that the system does not take changes nothing but the speed.
                #[cfg(target_os = "linux")]
                let _ = map.advise(memmap2::Advice::HugePage);
                Lines::Large { map, bytes }
            }
            None => Lines::Small(vec![CacheLine([0; 16]); count]),
        }
    }

    pub fn as_slice(&self) -> &[CacheLine] {
        match self {
            Lines::Small(lines) => lines,
            Lines::Large { map, bytes } => bytemuck::cast_slice(&map[..*bytes]),
        }
    }

    pub fn as_mut_slice(&mut self) -> &mut [CacheLine] {
        match self {
            Lines::Small(lines) => lines,
            Lines::Large { map, bytes } => bytemuck::cast_slice_mut(&mut map[..*bytes]),
        }
    }
}

impl Clone for Lines {
    fn clone(&self) -> Self {
        let mut copy = Lines::zeroed(self.as_slice().len());
        copy.as_mut_slice().copy_from_slice(self.as_slice());
        copy
    }
}

impl PartialEq for Lines {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}
