//! The three factors together.

use rayon::prelude::*;

use crate::factors::block_diagonal::BlockDiagonal;
use crate::factors::sparse_core::SparseCore;
use crate::kernels::elementwise;

/// The factors A, S and B of one approximation; whoever holds them says in which coordinates they are.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Factors {
    pub left: BlockDiagonal,
    pub core: SparseCore,
    pub right: BlockDiagonal,
}

impl Factors {
    /// Copies factors of the same shape.
    pub fn copy_from(&mut self, other: &Factors) {
        self.left.data_mut().copy_from_slice(other.left.data());
        self.core.copy_from(&other.core);
        self.right.data_mut().copy_from_slice(other.right.data());
    }

    /// Extrapolates all factors, X ← X + factor (X − X_previous), and stores the old X in `previous`. The core changes only
    /// in groups whose mask is the same in `previous`.
    pub fn extrapolate(&mut self, previous: &mut Factors, factor: f64) {
        let factor = factor as f32;
        const CHUNK: usize = 1 << 14;
        let wrappers = [(&mut self.left, &mut previous.left), (&mut self.right, &mut previous.right)];
        let chunks = wrappers.into_par_iter().flat_map(|(wrapper, previous)| {
            wrapper.data_mut().par_chunks_mut(CHUNK).zip(previous.data_mut().par_chunks_mut(CHUNK))
        });
        rayon::join(
            || chunks.for_each(|(values, previous)| elementwise::move_on(values, previous, factor)),
            || self.core.extrapolate(&mut previous.core, factor),
        );
    }
}
