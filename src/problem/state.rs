//! The factors in progress, in the whitened coordinates of the descent.

use std::ops::Range;

use rayon::prelude::*;

use crate::factors::block_diagonal::BlockDiagonal;
use crate::factors::sparse_core::SparseCore;
use crate::factors::triple::Factors;
use crate::kernels::elementwise;
use crate::kernels::linalg::{rows_of, set_product};
use crate::kernels::scratch::with_scratch;
use crate::problem::target::Target;

/// The factors A, S and B̃ = B diag(√d) of the whitened target Y ≈ A S B̃.
///
/// [`MaskSelector`](crate::MaskSelector) and [`WrapperUpdate`](crate::WrapperUpdate) change it in place.
#[derive(Debug)]
pub struct State<'t> {
    target: &'t Target,
    factors: Factors,
    loss: Option<f64>,
    left_product: LeftProduct,
}

/// A S by column panel, as the last update that needed it left it for the next one.
#[derive(Debug, Default)]
pub(crate) struct LeftProduct {
    values: Vec<f32>,
    /// Whether neither A nor S has changed since.
    current: bool,
}

impl LeftProduct {
    /// All m × k entries, to be overwritten.
    pub fn values_mut(&mut self, target: &Target) -> &mut [f32] {
        self.values.resize(target.rows() * target.cols(), 0.0);
        &mut self.values
    }
}

impl<'t> State<'t> {
    /// Starts from identity wrappers and a core of zeros.
    pub(crate) fn new(target: &'t Target) -> Self {
        State { target, factors: Factors::identity(target), loss: None, left_product: LeftProduct::default() }
    }

    /// What is approximated.
    pub fn target(&self) -> &'t Target {
        self.target
    }

    /// The left wrapper A, m × m.
    pub fn left(&self) -> &BlockDiagonal {
        &self.factors.left
    }

    /// The sparse core S, m × k.
    pub fn core(&self) -> &SparseCore {
        &self.factors.core
    }

    /// The whitened right wrapper B̃, k × k.
    pub fn right(&self) -> &BlockDiagonal {
        &self.factors.right
    }

    /// The core, to be changed.
    pub fn core_mut(&mut self) -> &mut SparseCore {
        self.loss = None;
        self.left_product.current = false;
        &mut self.factors.core
    }

    /// The left wrapper, to be changed.
    pub fn left_mut(&mut self) -> &mut BlockDiagonal {
        self.loss = None;
        self.left_product.current = false;
        &mut self.factors.left
    }

    /// The whitened right wrapper, to be changed.
    pub fn right_mut(&mut self) -> &mut BlockDiagonal {
        self.loss = None;
        &mut self.factors.right
    }

    /// Takes the core out to be changed beside the wrappers; [`State::put_core`] gives it back. A S stays what it is
    /// for the core that was taken.
    pub(crate) fn take_core(&mut self) -> SparseCore {
        self.loss = None;
        let empty = SparseCore::zeros(0, self.target.col_blocks(), self.target.pattern());
        std::mem::replace(&mut self.factors.core, empty)
    }

    /// Gives back a core taken out and changed, with the absolute loss where it is known.
    pub(crate) fn put_core(&mut self, core: SparseCore, loss: Option<f64>) {
        self.left_product.current = false;
        self.factors.core = core;
        self.loss = loss;
    }

    /// Changes every block of A in place, in parallel; `change` sees the state without A, the block's index and the
    /// block, row-major.
    pub(crate) fn change_left(&mut self, change: impl Fn(&State<'_>, usize, &mut [f32]) + Sync) {
        let mut left = self.left_mut().take();
        left.par_blocks_mut().enumerate().for_each(|(a, block)| change(self, a, block));
        self.factors.left = left;
    }

    /// Changes every block of B̃ in place, as [`State::change_left`] does for A.
    pub(crate) fn change_right(&mut self, change: impl Fn(&State<'_>, usize, &mut [f32]) + Sync) {
        let mut right = self.right_mut().take();
        right.par_blocks_mut().enumerate().for_each(|(b, block)| change(self, b, block));
        self.factors.right = right;
    }

    pub(crate) fn factors(&self) -> &Factors {
        &self.factors
    }

    /// All three factors, to be changed.
    pub(crate) fn factors_mut(&mut self) -> &mut Factors {
        self.loss = None;
        self.left_product.current = false;
        &mut self.factors
    }

    pub(crate) fn into_factors(self) -> Factors {
        self.factors
    }

    /// Blocks (a, b) of A S for consecutive a, one below the other, where an update has left them.
    pub(crate) fn left_product(&self, blocks: Range<usize>, b: usize) -> Option<&[f32]> {
        self.left_product.current.then(|| &self.left_product.values[self.target.block_range(blocks, b)])
    }

    /// Takes out the memory for A S, to be filled beside the state; [`State::put_left_product`] gives it back.
    pub(crate) fn take_left_product(&mut self) -> LeftProduct {
        std::mem::take(&mut self.left_product)
    }

    /// Gives back A S of the factors as they stand.
    pub(crate) fn put_left_product(&mut self, product: LeftProduct) {
        self.left_product = LeftProduct { current: true, ..product };
    }

    /// Takes out memory for m × k numbers, of any value, which holds no A S any more; [`State::put_workspace`] gives it
    /// back.
    pub(crate) fn take_workspace(&mut self) -> Vec<f32> {
        let mut product = self.take_left_product();
        product.values_mut(self.target);
        product.values
    }

    /// Gives back the memory.
    pub(crate) fn put_workspace(&mut self, values: Vec<f32>) {
        self.left_product = LeftProduct { values, current: false };
    }

    /// The absolute loss ‖Y − A S B̃‖², or tr(E Ω Eᵀ) where errors couple, computed only if the last update did not already
    /// know it.
    pub fn loss(&mut self) -> f64 {
        if let Some(loss) = self.loss {
            return loss;
        }
        let loss = match self.target.coupling() {
            Some(coupling) => {
                let mut residual = self.take_workspace();
                coupling.write_residual(self, self.core(), &mut residual);
                let loss = coupling.square(&residual);
                self.put_workspace(residual);
                loss
            }
            None => self.residual_energy(),
        };
        self.loss = Some(loss);
        loss
    }

    fn residual_energy(&self) -> f64 {
        let (rows, cols) = (self.target.row_blocks(), self.target.col_blocks());
        let blocks = rows.count() * cols.count();
        let energies: Vec<f64> = (0..blocks)
            .into_par_iter()
            .map(|index| {
                let (a, b) = (index / cols.count(), index % cols.count());
                let size = rows.size(a) * cols.size(b);
                with_scratch([size, size, size], |[dense, product, residual]| {
                    self.core().expand(b, rows.range(a), dense);
                    self.multiply_left(a, dense, product);
                    self.residual(a..a + 1, b, product, residual)
                })
            })
            .collect();
        energies.iter().sum()
    }

    /// Writes A_a S_ab of one block, given its dense core.
    pub(crate) fn multiply_left(&self, a: usize, dense: &[f32], product: &mut [f32]) {
        let p = self.target.row_blocks().size(a);
        set_product(product, rows_of(self.left().values(a), p), rows_of(dense, dense.len() / p));
    }

    /// Writes the residual A_a S_ab B̃_b − Y_ab of consecutive blocks a, given A_a S_ab, and returns its sum of squares.
    pub(crate) fn residual(&self, blocks: Range<usize>, b: usize, product: &[f32], residual: &mut [f32]) -> f64 {
        let q = self.target.col_blocks().size(b);
        set_product(residual, rows_of(product, q), rows_of(self.right().values(b), q));
        elementwise::subtract_and_square(residual, self.target.blocks(blocks, b))
    }

    /// Writes half the gradient of the loss in S_ab, Aᵀ E B̃ᵀ with the residual E; `half` receives Aᵀ E.
    pub(crate) fn core_gradient(&self, a: usize, b: usize, residual: &[f32], half: &mut [f32], gradient: &mut [f32]) {
        let p = self.target.row_blocks().size(a);
        let q = self.target.col_blocks().size(b);
        set_product(half, rows_of(self.left().values(a), p).transpose(), rows_of(residual, q));
        set_product(gradient, rows_of(half, q), rows_of(self.right().values(b), q).transpose());
    }
}
