//! The three factors together.

use rayon::prelude::*;

use crate::factors::block_diagonal::BlockDiagonal;
use crate::factors::sparse_core::SparseCore;
use crate::kernels::elementwise;
use crate::problem::target::Target;

/// A, S and B of one approximation, in whatever coordinates their owner says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Factors {
    pub left: BlockDiagonal,
    pub core: SparseCore,
    pub right: BlockDiagonal,
}

impl Factors {
    /// Identity wrappers (B̃ = diag(√d)) around a core of zeros.
    pub fn identity(target: &Target) -> Self {
        let (left, core, right) = target.identity_factors();
        Factors { left, core, right }
    }

    /// Copies factors of the same shape.
    pub fn copy_from(&mut self, other: &Factors) {
        self.left.data_mut().copy_from_slice(other.left.data());
        self.core.copy_from(&other.core);
        self.right.data_mut().copy_from_slice(other.right.data());
    }

    /// Moves on along the last change, X ← X + factor (X − X_previous), and leaves the old X in `previous`; the core
    /// moves only in groups whose mask did not change.
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
