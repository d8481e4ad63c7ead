//! The sequential gradient step of the paper's convergence proof (appendix): A, then B, then W', each by 1/L.

use rayon::prelude::*;

use super::normal_equations::NormalEquations;
use crate::descent::step::Step;
use crate::descent::wrapper_update::update::WrapperUpdate;
use crate::error::BoxError;
use crate::factors::groups::{columns, expand_groups};
use crate::kernels::linalg::{Unknown, largest_eigenvalue, rows_of, set_product};
use crate::kernels::scratch::{with_scratch, with_scratch_f64};
use crate::problem::state::State;

/// One gradient step on A, then on B, then on the core's values, each of length 1/L with L the Lipschitz constant
/// of that block's gradient: the loss never rises.
///
/// B is the wrapper of the normalised weight, B = B̃ diag(1/√d), as in the paper. It works with separable losses only: an
/// update returns [`Error::Coupled`](crate::Error::Coupled) for any other.
#[derive(Clone, Debug, Default)]
pub struct SequentialGradient {
    equations: NormalEquations,
}

impl WrapperUpdate for SequentialGradient {
    fn update(&mut self, state: &mut State<'_>, _step: &Step) -> Result<(), BoxError> {
        let target = state.target();
        target.check_separable("SequentialGradient")?;
        self.equations.of_left(state);
        let blocks = state.left_mut().par_blocks_mut();
        blocks.enumerate().for_each(|(a, block)| self.descend(a, block, Unknown::LeftOfGram, |_| 1.0));
        self.equations.of_right(state);
        let importance = target.normalization().raised_importance();
        let blocks = state.right_mut().par_blocks_mut();
        blocks.enumerate().for_each(|(b, block)| {
            let importance = &importance[target.col_blocks().range(b)];
            let largest = importance.iter().copied().fold(0.0, f64::max);
            self.descend(b, block, Unknown::RightOfGram, |col| importance[col] / largest);
        });
        descend_core(state);
        Ok(())
    }

    fn is_monotone(&self) -> bool {
        true
    }
}

impl SequentialGradient {
    /// Sets X − (half gradient) D / λ with λ the largest eigenvalue of gram and D the column factors, all ≤ 1.
    fn descend(&self, index: usize, block: &mut [f32], side: Unknown, factor: impl Fn(usize) -> f64) {
        let n = block.len().isqrt();
        with_scratch_f64([n * n; 4], |[gram, rhs, current, product]| {
            self.equations.sum(index, n, gram, rhs);
            let largest = largest_eigenvalue(gram, n);
            if !(largest > 0.0) {
                return;
            }
            for (wide, &narrow) in current.iter_mut().zip(&*block) {
                *wide = narrow.into();
            }
            match side {
                Unknown::LeftOfGram => set_product(product, rows_of(current, n), rows_of(gram, n)),
                Unknown::RightOfGram => set_product(product, rows_of(gram, n), rows_of(current, n)),
            }
            for (entry, value) in block.iter_mut().enumerate() {
                let gradient = product[entry] - rhs[entry];
                *value = (current[entry] - factor(entry % n) * gradient / largest) as f32;
            }
        });
    }
}

/// Steps every kept value of block (a, b) by its half gradient over λ(AᵀA) λ(B̃ B̃ᵀ).
fn descend_core(state: &mut State<'_>) {
    let largest_of_gram = |values: &[f32], n: usize| {
        let values: Vec<f64> = values.iter().map(|&x| f64::from(x)).collect();
        let mut gram = vec![0.0; n * n];
        let block = rows_of(&values, n);
        set_product(&mut gram, block.transpose(), block);
        largest_eigenvalue(&gram, n)
    };
    let (rows, cols) = (state.target().row_blocks(), state.target().col_blocks());
    let left: Vec<f64> =
        (0..rows.count()).into_par_iter().map(|a| largest_of_gram(state.left().values(a), rows.size(a))).collect();
    let right: Vec<f64> =
        (0..cols.count()).into_par_iter().map(|b| largest_of_gram(state.right().values(b), cols.size(b))).collect();
    let pattern = state.target().pattern();
    let (core, wrappers) = state.split_core();
    core.pieces_mut(rows.block).for_each(|((b, a), core)| {
        let size = rows.size(a) * cols.size(b);
        let lipschitz = left[a] * right[b];
        if !(lipschitz > 0.0) {
            return;
        }
        with_scratch([size; 4], |[dense, product, residual, gradient]| {
            expand_groups(pattern, core.masks, core.values, dense);
            wrappers.multiply_left(a, dense, product);
            wrappers.residual(a..a + 1, b, product, residual);
            wrappers.core_gradient(a, b, residual, product, gradient);
            let values = core.values.chunks_exact_mut(pattern.n());
            for ((values, &mask), gradient) in values.zip(&*core.masks).zip(gradient.chunks_exact(pattern.m())) {
                for (value, column) in values.iter_mut().zip(columns(mask)) {
                    *value -= (f64::from(gradient[column]) / lipschitz) as f32;
                }
            }
        });
    });
}
