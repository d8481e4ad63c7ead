//! The caller's working memory, divided into the buffers of a product.

use crate::kernels::cache_line::CacheLine;
use crate::packed::factors::PackedFactors;
use crate::packed::strip::ROWS;
use crate::packed::vectors::{INTERLEAVED, stride};

/// Counts the numbers of working memory that a product with `batch` vectors needs.
pub(super) fn scratch_len(packed: &PackedFactors, batch: usize) -> usize {
    let (rows, cols) = (stride(packed.rows), stride(packed.cols));
    batch.min(INTERLEAVED) * (2 * cols + rows) + rows + ROWS
}

/// Buffers for the vectors between the stages.
pub(super) struct StageBuffers<'a> {
    /// z = B x, k entries of every vector.
    pub z: &'a mut [f32],
    /// t = S z, m entries of every vector.
    pub t: &'a mut [f32],
}

impl StageBuffers<'_> {
    /// Lends the same buffers once more.
    pub fn reborrow(&mut self) -> StageBuffers<'_> {
        StageBuffers { z: self.z, t: self.t }
    }
}

/// All buffers of a product.
pub(super) struct Workspace<'a> {
    /// The inputs as f32.
    pub x: &'a mut [f32],
    pub stages: StageBuffers<'a>,
    /// One output vector, m entries.
    pub output: &'a mut [f32],
}

impl<'a> Workspace<'a> {
    /// Divides `scratch`, which has at least [`scratch_len`] numbers; the first buffer begins at a cache line.
    pub fn new(packed: &PackedFactors, batch: usize, scratch: &'a mut [f32]) -> Self {
        let aligned = scratch.as_ptr().align_offset(size_of::<CacheLine>()).min(ROWS);
        let (rows, cols, count) = (stride(packed.rows), stride(packed.cols), batch.min(INTERLEAVED));
        let (x, rest) = scratch[aligned..].split_at_mut(count * cols);
        let (z, rest) = rest.split_at_mut(count * cols);
        let (t, output) = rest.split_at_mut(count * rows);
        Workspace { x, stages: StageBuffers { z, t }, output: &mut output[..packed.rows] }
    }
}
