//! The vectors that a stage of a product reads: one after the other, or interleaved.

use crate::packed::strip::ROWS;

/// Vectors that are interleaved. With fewer, kernels whose lanes are rows are faster: each weight is then loaded for too
/// few multiply-adds.
pub(super) const INTERLEAVED: usize = 64;

/// The same entry of all interleaved vectors, in groups that fill sixteen lanes.
pub(super) type InterleavedEntry = [[f32; ROWS]; INTERLEAVED / ROWS];

/// Vectors of equal length, `stride` numbers apart.
#[derive(Clone, Copy)]
pub(super) struct VectorBatch<'a> {
    pub data: &'a [f32],
    pub stride: usize,
    pub count: usize,
}

impl<'a> VectorBatch<'a> {
    /// Gives `len` entries of one vector, from `start` on.
    #[inline(always)]
    pub fn part(self, vector: usize, start: usize, len: usize) -> &'a [f32] {
        &self.data[vector * self.stride + start..][..len]
    }
}

/// What a stage reads.
#[derive(Clone, Copy)]
pub(super) enum ProductInput<'a> {
    /// A few vectors, one after the other.
    Separate(VectorBatch<'a>),
    /// [`INTERLEAVED`] vectors; an element for every entry.
    Interleaved(&'a [InterleavedEntry]),
}

/// Gives the distance from one vector of `len` entries to the next: an odd number of cache lines, so that the same entry
/// of several vectors falls into different sets of the cache.
pub(super) fn stride(len: usize) -> usize {
    (len.div_ceil(ROWS) | 1) * ROWS
}
