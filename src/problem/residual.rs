//! The residual and its gradients by blocks, for updates of a caller's own.

use ndarray::{Array2, ArrayView2, s};
use rayon::prelude::*;

use crate::factors::sparse_core::SparseCore;
use crate::kernels::linalg::{rows_of, set_part_product, set_product};
use crate::problem::wrappers::Wrappers;

/// The residual E = A S B̃ − Y of a state, m × k, and the gradients of the absolute loss that follow from it.
///
/// The loss is tr(E Ω Eᵀ), with Ω = I where errors do not couple. Blocks are those of
/// [`Target::row_blocks`](crate::Target::row_blocks) and [`Target::col_blocks`](crate::Target::col_blocks). It
/// takes m × k numbers of memory, and as many again where errors couple.
pub struct Residual<'s> {
    wrappers: Wrappers<'s>,
    core: &'s SparseCore,
    /// E.
    values: Array2<f32>,
    /// E Ω, where errors couple.
    weighted: Option<Array2<f32>>,
}

impl<'s> Residual<'s> {
    /// Computes E, and E Ω where errors couple.
    pub(crate) fn new(wrappers: Wrappers<'s>, core: &'s SparseCore) -> Self {
        let (rows, cols) = (wrappers.target.row_blocks(), wrappers.target.col_blocks());
        let mut values = vec![0.0; rows.len * cols.len];
        values.par_chunks_mut(rows.block * cols.len).enumerate().for_each(|(a, out)| {
            for b in 0..cols.count() {
                let product = left_product(wrappers, core, a, b);
                let (start, q) = (cols.start(b), cols.size(b));
                set_part_product(
                    &mut out[start..],
                    cols.len,
                    rows_of(&product, q),
                    rows_of(wrappers.right.values(b), q),
                );
                for (row, y) in out.chunks_exact_mut(cols.len).zip(wrappers.target.block(a, b).rows()) {
                    row[start..start + q].iter_mut().zip(y).for_each(|(entry, y)| *entry -= y);
                }
            }
        });
        let weighted = wrappers.target.coupling().map(|coupling| {
            let k = cols.len;
            let mut weighted = vec![0.0; values.len()];
            let bands = weighted.par_chunks_mut(rows.block * k).zip(values.par_chunks(rows.block * k));
            bands.for_each(|(out, values)| {
                let mut whitened = vec![0.0; values.len()];
                set_product(&mut whitened, rows_of(values, k), rows_of(coupling.factor(), k));
                set_product(out, rows_of(&whitened, k), rows_of(coupling.factor(), k).transpose());
            });
            matrix((rows.len, k), weighted)
        });
        Residual { wrappers, core, values: matrix((rows.len, cols.len), values), weighted }
    }

    /// Block (a, b) of E.
    ///
    /// # Panics
    /// If there is no such block.
    pub fn block(&self, a: usize, b: usize) -> ArrayView2<'_, f32> {
        self.part(&self.values, a, b)
    }

    /// Block (a, b) of E Ω, which is E where errors do not couple.
    ///
    /// # Panics
    /// If there is no such block.
    pub fn weighted_block(&self, a: usize, b: usize) -> ArrayView2<'_, f32> {
        self.part(self.weighted.as_ref().unwrap_or(&self.values), a, b)
    }

    /// Block (a, b) of A S.
    ///
    /// # Panics
    /// If there is no such block.
    pub fn left_product(&self, a: usize, b: usize) -> Array2<f32> {
        let (rows, cols) = (self.wrappers.target.row_blocks(), self.wrappers.target.col_blocks());
        matrix((rows.size(a), cols.size(b)), left_product(self.wrappers, self.core, a, b))
    }

    /// The loss's gradient in block a of A, p × p: 2 Σ_b (E Ω)_ab (S_ab B̃_b)ᵀ.
    ///
    /// # Panics
    /// If there is no such block.
    pub fn left_gradient(&self, a: usize) -> Array2<f32> {
        let (rows, cols) = (self.wrappers.target.row_blocks(), self.wrappers.target.col_blocks());
        let mut sum = Array2::zeros((rows.size(a), rows.size(a)));
        for b in 0..cols.count() {
            let right_product = dense_block(self.wrappers, self.core, a, b).dot(&self.wrappers.right.block(b));
            sum.scaled_add(2.0, &self.weighted_block(a, b).dot(&right_product.t()));
        }
        sum
    }

    /// The loss's gradient in block b of B̃, q × q: 2 Σ_a (A_a S_ab)ᵀ (E Ω)_ab.
    ///
    /// # Panics
    /// If there is no such block.
    pub fn right_gradient(&self, b: usize) -> Array2<f32> {
        let (rows, cols) = (self.wrappers.target.row_blocks(), self.wrappers.target.col_blocks());
        let mut sum = Array2::zeros((cols.size(b), cols.size(b)));
        for a in 0..rows.count() {
            sum.scaled_add(2.0, &self.left_product(a, b).t().dot(&self.weighted_block(a, b)));
        }
        sum
    }

    /// The loss's gradient in block (a, b) of S, p × q, masked-out entries included: 2 A_aᵀ (E Ω)_ab B̃_bᵀ.
    ///
    /// # Panics
    /// If there is no such block.
    pub fn core_gradient(&self, a: usize, b: usize) -> Array2<f32> {
        let half = self.wrappers.left.block(a).t().dot(&self.weighted_block(a, b));
        2.0 * half.dot(&self.wrappers.right.block(b).t())
    }

    fn part<'a>(&self, matrix: &'a Array2<f32>, a: usize, b: usize) -> ArrayView2<'a, f32> {
        let (rows, cols) = (self.wrappers.target.row_blocks(), self.wrappers.target.col_blocks());
        matrix.slice(s![rows.range(a), cols.range(b)])
    }
}

/// S_ab with its zeros.
fn dense_block(wrappers: Wrappers<'_>, core: &SparseCore, a: usize, b: usize) -> Array2<f32> {
    let (rows, cols) = (wrappers.target.row_blocks(), wrappers.target.col_blocks());
    let mut dense = vec![0.0; rows.size(a) * cols.size(b)];
    core.expand(b, rows.range(a), &mut dense);
    matrix((rows.size(a), cols.size(b)), dense)
}

/// A_a S_ab, row-major.
fn left_product(wrappers: Wrappers<'_>, core: &SparseCore, a: usize, b: usize) -> Vec<f32> {
    let (rows, cols) = (wrappers.target.row_blocks(), wrappers.target.col_blocks());
    let size = rows.size(a) * cols.size(b);
    let (mut dense, mut product) = (vec![0.0; size], vec![0.0; size]);
    core.expand(b, rows.range(a), &mut dense);
    wrappers.multiply_left(a, &dense, &mut product);
    product
}

fn matrix(shape: (usize, usize), values: Vec<f32>) -> Array2<f32> {
    Array2::from_shape_vec(shape, values).expect("as many values as the shape has")
}
