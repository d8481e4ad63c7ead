//! SparseGPT: pruning, column by column, that makes up for every pruned weight with the weights still to come.

use rayon::prelude::*;

use crate::descent::mask_selector::scores::{EntryRank, largest};
use crate::descent::mask_selector::selector::MaskSelector;
use crate::error::{BoxError, Error};
use crate::factors::groups::columns;
use crate::factors::pattern::Pattern;
use crate::input::hessian::{Hessian, HessianKind};
use crate::kernels::linalg::{add_part_product, cholesky_with_ridge, invert_lower, part_of, rows_of};
use crate::problem::state::State;
use crate::problem::target::Target;

/// SparseGPT (arXiv 2301.00774): keeps N of every M by the optimal brain surgeon's saliency, and updates the weights.
///
/// With H⁻¹ = Uᵀ U, U upper triangular, columns are visited from the left. Where a group begins, it keeps the N largest
/// w_j² / U_jj² of the weights as they stand by then; each pruned weight leaves an error e = w_j / U_jj, and the weights
/// on its right take w ← w − e U_j. The computation is in f64, for the weight and the Hessian that the caller gave,
/// and leaves the wrappers at the identity.
///
/// The weights of a dead input (H_jj = 0) are set to zero first, as the paper's procedure does: they are pruned before any
/// other, and a group that must keep some of them keeps zeros. Two things differ from the paper's program: the diagonal
/// entry of a dead input counts as 0, and not as 1, in the mean that the dampening is relative to, so that the scale of H
/// does not matter; and an H that is all zero is taken as the identity instead of setting all weights to zero.
///
/// ```
/// use armor_core::{Descent, Error, Hessian, Layer, Options, SparseGpt};
/// use ndarray::{Array2, array};
///
/// let weight = Array2::from_shape_fn((8, 4), |(i, j)| ((3 * i + 5 * j) % 7) as f32 - 2.5);
/// let full = array![[2.0_f32, 0.9, 0.0, 0.4], [0.9, 1.0, 0.2, 0.3], [0.0, 0.2, 1.5, 0.0], [0.4, 0.3, 0.0, 1.0]];
/// let layer = Layer::new(&weight, Hessian::from_full(&full)?)?;
/// let options = Options::exact().block(4);
/// let updated = Descent::new(&options)?.initial_mask(SparseGpt::new()).prune(&layer)?;
/// let pruned = Descent::new(&options)?.prune(&layer)?;
/// assert!(updated.output_error(&layer)? < pruned.output_error(&layer)?);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SparseGpt {
    dampening: f64,
}

/// Rows of a task.
const HEIGHT: usize = 64;

/// Columns whose errors reach those beyond them in one product. No result depends on it but by rounding.
const BLOCK: usize = 128;

impl SparseGpt {
    /// Prunes with the default dampening.
    ///
    /// A selection returns [`Error::HessianNotFull`] where only the diagonal of the layer's Hessian is known, and
    /// [`Error::Option`] for a dampening out of range.
    pub fn new() -> Self {
        SparseGpt { dampening: 0.01 }
    }

    /// What is added to H's diagonal, relative to the mean of all its entries. Default: 0.01. Range: 0 to 1.
    ///
    /// It grows tenfold, from at least 10⁻⁷, until the Cholesky factorisation succeeds.
    pub fn dampening(mut self, relative: f64) -> Self {
        self.dampening = relative;
        self
    }

    fn check(&self, target: &Target) -> Result<(), Error> {
        if !(0.0..=1.0).contains(&self.dampening) {
            return Err(Error::Option { name: "dampening", value: self.dampening.to_string(), expected: "0 to 1" });
        }
        if target.hessian().kind() != HessianKind::Full {
            return Err(Error::HessianNotFull { needed_by: "SparseGPT" });
        }
        Ok(())
    }
}

impl Default for SparseGpt {
    fn default() -> Self {
        Self::new()
    }
}

/// U, k × k, row-major, zeros below the diagonal.
///
/// With rows and columns in reverse order, H is R Rᵀ for a lower triangular R, and U is R⁻¹ back in order: H itself
/// need not be inverted.
fn inverse_factor(hessian: &Hessian, dampening: f64) -> Vec<f64> {
    let k = hessian.len();
    // The identity stands in for a Hessian that is all zero.
    let mean = Some(hessian.mean()).filter(|mean| *mean > 0.0).unwrap_or(1.0);
    let (matrix, _) = cholesky_with_ridge(k, dampening, |matrix, dampening| {
        matrix.par_chunks_mut(k).enumerate().for_each(|(i, reversed)| {
            write_row(hessian, k - 1 - i, mean, reversed);
            reversed[i] += dampening * mean;
        });
    });
    let mut factor = invert_lower(&matrix, k);
    factor.reverse();
    factor
}

/// Writes a row of H from its end; a dead input, which stands alone, gets the mean on the diagonal.
fn write_row(hessian: &Hessian, row: usize, mean: f64, reversed: &mut [f64]) {
    let values = hessian.row(row).expect("checked to be full");
    for (out, &value) in reversed.iter_mut().rev().zip(values) {
        *out = value.into();
    }
    let diagonal = hessian.diagonal()[row];
    reversed[values.len() - 1 - row] = if diagonal > 0.0 { diagonal } else { mean };
}

/// Writes the caller's weights of a row but for the row's scale; those of dead inputs are zero.
fn write_weights(target: &Target, live: &[bool], row: usize, out: &mut [f64]) {
    for (j, out) in out.iter_mut().enumerate() {
        let scale = target.normalization().cols[j] / target.roots()[j];
        *out = if live[j] { f64::from(target.whitened(row, j)) * scale } else { 0.0 };
    }
}

impl MaskSelector for SparseGpt {
    fn select(&mut self, state: &mut State<'_>) -> Result<(), BoxError> {
        let target = state.target();
        self.check(target)?;
        let k = target.cols();
        let live: Vec<bool> = target.hessian().importance().iter().map(|&d| d > 0.0).collect();
        let pruning = Pruning {
            pattern: target.pattern(),
            inputs: k,
            factor: &inverse_factor(target.hessian(), self.dampening),
            scales: &target.normalization().cols,
            live: &live,
        };
        let strips: Vec<PrunedRows> = (0..target.rows().div_ceil(HEIGHT))
            .into_par_iter()
            .map(|strip| {
                let rows = strip * HEIGHT..target.rows().min((strip + 1) * HEIGHT);
                let mut weights = vec![0.0; rows.len() * k];
                for (row, out) in rows.zip(weights.chunks_exact_mut(k)) {
                    write_weights(target, &live, row, out);
                }
                pruning.prune(weights)
            })
            .collect();
        write_core(state, &strips);
        Ok(())
    }
}

/// Consecutive rows of the core: kept values, row by row, and a mask a group.
struct PrunedRows {
    values: Vec<f32>,
    masks: Vec<u8>,
}

/// What every row is pruned by.
struct Pruning<'a> {
    pattern: Pattern,
    inputs: usize,
    /// U, row-major.
    factor: &'a [f64],
    /// What divides the caller's columns to give the core's.
    scales: &'a [f64],
    /// Which inputs are not dead.
    live: &'a [bool],
}

impl Pruning<'_> {
    /// Prunes rows, from the left.
    fn prune(&self, mut weights: Vec<f64>) -> PrunedRows {
        let (k, m) = (self.inputs, self.pattern.m());
        let height = weights.len() / k;
        let mut masks = vec![0; height * k / m];
        let mut errors = Vec::new();
        // Whole groups, whatever M is.
        let block = BLOCK / m * m;
        for start in (0..k).step_by(block) {
            let end = k.min(start + block);
            let width = end - start;
            errors.clear();
            errors.resize(height * width, 0.0);
            let rows = weights.chunks_exact_mut(k).zip(masks.chunks_exact_mut(k / m));
            for ((row, masks), errors) in rows.zip(errors.chunks_exact_mut(width)) {
                self.prune_block(start, &mut row[start..end], &mut masks[start / m..end / m], errors);
            }
            if end < k {
                let rows_of_u = part_of(&self.factor[start * k + end..], width, k - end, k);
                add_part_product(&mut weights[end..], k, rows_of(&errors, width), rows_of_u);
            }
        }
        PrunedRows { values: self.kept(&weights, &masks), masks }
    }

    /// The kept weights, in the core's scale.
    fn kept(&self, weights: &[f64], masks: &[u8]) -> Vec<f32> {
        let m = self.pattern.m();
        let groups = weights.chunks_exact(m).zip(self.scales.chunks_exact(m).cycle()).zip(masks);
        groups
            .flat_map(|((weights, scales), &mask)| columns(mask).map(move |j| (weights[j] / scales[j]) as f32))
            .collect()
    }

    /// Prunes one row's columns from `start`, and leaves −e of each.
    fn prune_block(&self, start: usize, weights: &mut [f64], masks: &mut [u8], errors: &mut [f64]) {
        let (n, m, width) = (self.pattern.n(), self.pattern.m(), weights.len());
        for (group, mask) in masks.iter_mut().enumerate() {
            let columns = group * m..(group + 1) * m;
            let rank = |j: usize| EntryRank::new(self.live[start + j], weights[j] / self.factor_row(start + j)[0]);
            *mask = largest(n, columns.clone().map(rank));
            for j in columns.filter(|j| *mask >> (j % m) & 1 == 0) {
                let row_of_u = self.factor_row(start + j);
                errors[j] = -weights[j] / row_of_u[0];
                weights[j] = 0.0;
                for (weight, entry) in weights[j + 1..].iter_mut().zip(&row_of_u[1..width - j]) {
                    *weight += errors[j] * entry;
                }
            }
        }
    }

    /// Row `column` of U from its diagonal on.
    fn factor_row(&self, column: usize) -> &[f64] {
        &self.factor[column * self.inputs + column..(column + 1) * self.inputs]
    }
}

/// Copies pruned rows into the core, which keeps them by panels.
fn write_core(state: &mut State<'_>, strips: &[PrunedRows]) {
    let target = state.target();
    let (n, m) = (target.pattern().n(), target.pattern().m());
    let groups = target.cols() / m;
    state.core_mut().pieces_mut(HEIGHT).for_each(|((b, strip), core)| {
        let PrunedRows { values, masks } = &strips[strip];
        let cols = target.col_blocks().range(b);
        let (start, width) = (cols.start / m, cols.len() / m);
        let from = values.chunks_exact(groups * n).zip(masks.chunks_exact(groups));
        let to = core.values.chunks_exact_mut(width * n).zip(core.masks.chunks_exact_mut(width));
        for ((values, masks), (values_out, masks_out)) in from.zip(to) {
            values_out.copy_from_slice(&values[start * n..(start + width) * n]);
            masks_out.copy_from_slice(&masks[start..start + width]);
        }
    });
}
