//! The wrappers of a state as an update of the core reads them, and the block products that they enter.

use std::ops::Range;

use crate::factors::block_diagonal::BlockDiagonal;
use crate::kernels::elementwise;
use crate::kernels::linalg::{rows_of, set_product};
use crate::problem::target::Target;

/// Both wrappers, what they approximate, and A S where it is known; all borrowed from a state whose core may change.
#[derive(Clone, Copy)]
pub(crate) struct Wrappers<'s> {
    pub target: &'s Target,
    pub left: &'s BlockDiagonal,
    pub right: &'s BlockDiagonal,
    /// A S by column panel, of the core as it was when this was borrowed.
    pub left_product: Option<&'s [f32]>,
}

impl<'s> Wrappers<'s> {
    /// Borrows wrappers of which A S is not known.
    pub fn new(target: &'s Target, left: &'s BlockDiagonal, right: &'s BlockDiagonal) -> Self {
        Wrappers { target, left, right, left_product: None }
    }

    /// Blocks (a, b) of A S for consecutive a, one below the other, where A S is known.
    pub fn left_product(&self, blocks: Range<usize>, b: usize) -> Option<&'s [f32]> {
        self.left_product.map(|values| &values[self.target.block_range(blocks, b)])
    }

    /// Writes A_a S_ab of one block, given its dense core.
    pub fn multiply_left(&self, a: usize, dense: &[f32], product: &mut [f32]) {
        let p = self.target.row_blocks().size(a);
        set_product(product, rows_of(self.left.values(a), p), rows_of(dense, dense.len() / p));
    }

    /// Writes the residual A_a S_ab B̃_b − Y_ab of consecutive blocks a, given A_a S_ab, and returns its sum of squares.
    pub fn residual(&self, blocks: Range<usize>, b: usize, product: &[f32], residual: &mut [f32]) -> f64 {
        let q = self.target.col_blocks().size(b);
        set_product(residual, rows_of(product, q), rows_of(self.right.values(b), q));
        elementwise::subtract_and_square(residual, self.target.blocks(blocks, b))
    }

    /// Writes half the gradient of the loss in S_ab, Aᵀ E B̃ᵀ with the residual E; `half` receives Aᵀ E.
    pub fn core_gradient(&self, a: usize, b: usize, residual: &[f32], half: &mut [f32], gradient: &mut [f32]) {
        let p = self.target.row_blocks().size(a);
        let q = self.target.col_blocks().size(b);
        set_product(half, rows_of(self.left.values(a), p).transpose(), rows_of(residual, q));
        set_product(gradient, rows_of(half, q), rows_of(self.right.values(b), q).transpose());
    }
}
