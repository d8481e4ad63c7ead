//! The unit of memory that kernels read and write.

use bytemuck::{Pod, Zeroable};

/// One cache line, 64 bytes at an address that is a multiple of 64: sixteen numbers of 32 bits.
///
/// It is also the widest SIMD register, so no load of a register that begins at a line reads two lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct CacheLine(pub [u32; CacheLine::LEN]);

impl CacheLine {
    /// Numbers of 32 bits in a line.
    pub const LEN: usize = 16;
}
