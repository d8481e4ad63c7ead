//! Initial masks by one score of every entry: NoWag-P, magnitude, Wanda.

use rayon::prelude::*;

use crate::descent::mask_selector::selector::MaskSelector;
use crate::error::BoxError;
use crate::factors::groups::columns;
use crate::factors::pattern::Pattern;
use crate::problem::normalization::Normalization;
use crate::problem::state::State;

/// NoWag-P, the paper's starting point (section 3): keeps the N largest W̄_ij² d_j of every M, with the values W̄_ij.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWagP;

/// Keeps the N largest |W_ij| of every M, whatever the inputs are, with the values W̄_ij.
#[derive(Clone, Copy, Debug, Default)]
pub struct Magnitude;

/// Wanda (arXiv 2306.11695): keeps the N largest |W_ij| ‖x_j‖ of every M, with the values W̄_ij.
///
/// ‖x_j‖² is the Hessian's diagonal. An input that was never excited counts as the mean of the others.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanda;

impl MaskSelector for NoWagP {
    fn select(&mut self, state: &mut State<'_>) -> Result<(), BoxError> {
        let scales = vec![1.0; state.target().cols()];
        keep_largest(state, &scales);
        Ok(())
    }
}

impl MaskSelector for Magnitude {
    fn select(&mut self, state: &mut State<'_>) -> Result<(), BoxError> {
        let Normalization { cols, importance, .. } = state.target().normalization();
        let scales: Vec<f64> = cols.iter().zip(importance).map(|(r, d)| r / d.sqrt()).collect();
        keep_largest(state, &scales);
        Ok(())
    }
}

impl MaskSelector for Wanda {
    fn select(&mut self, state: &mut State<'_>) -> Result<(), BoxError> {
        let Normalization { cols, importance, .. } = state.target().normalization();
        let squares = state.target().hessian().importance();
        let of_inputs = squares.iter().zip(importance).map(|(square, d)| (square / d).sqrt());
        let scales: Vec<f64> = cols.iter().zip(of_inputs).map(|(r, scale)| r * scale).collect();
        keep_largest(state, &scales);
        Ok(())
    }
}

/// Keeps the N entries of largest |Y_ij| scale_j in every group, the first ones where they tie, with the values W̄_ij.
fn keep_largest(state: &mut State<'_>, scales: &[f64]) {
    /// Rows of a task.
    const HEIGHT: usize = 64;
    let target = state.target();
    let (n, m) = (target.pattern().n(), target.pattern().m());
    let roots: Vec<f64> = target.normalization().importance.iter().map(|d| d.sqrt()).collect();
    state.core_mut().pieces_mut(HEIGHT).for_each(|((b, piece), core)| {
        let cols = target.col_blocks().range(b);
        let (scales, roots) = (&scales[cols.clone()], &roots[cols.clone()]);
        let rows = target.panel(b)[piece * HEIGHT * cols.len()..].chunks_exact(cols.len());
        let groups = core.masks.iter_mut().zip(core.values.chunks_exact_mut(n));
        let of_rows = rows.flat_map(|row| row.chunks_exact(m).zip(scales.chunks_exact(m).zip(roots.chunks_exact(m))));
        for ((mask, values), (group, (scales, roots))) in groups.zip(of_rows) {
            *mask = largest(n, group.iter().zip(scales).map(|(&value, scale)| f64::from(value) * scale));
            for (value, column) in values.iter_mut().zip(columns(*mask)) {
                *value = (f64::from(group[column]) / roots[column]) as f32;
            }
        }
    });
}

/// Mask of the `n` largest scores in absolute value, the first ones where they tie.
pub(super) fn largest(n: usize, scores: impl Iterator<Item = f64>) -> u8 {
    let mut sizes = [f64::NEG_INFINITY; Pattern::MAX_M];
    for (size, score) in sizes.iter_mut().zip(scores) {
        *size = score.abs();
    }
    let mut mask = 0;
    for _ in 0..n {
        let mut best = 0;
        for (column, size) in sizes.iter().enumerate() {
            if *size > sizes[best] {
                best = column;
            }
        }
        mask |= 1 << best;
        sizes[best] = f64::NEG_INFINITY;
    }
    mask
}
