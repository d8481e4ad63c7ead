//! The Cholesky factorisation of Ĥ with a ridge.

use rayon::prelude::*;

use crate::error::Error;
use crate::input::pair_moments::PairMoments;
use crate::kernels::linalg::{cholesky, solve_factor, solve_transposed_factor};

/// Smallest pivot, relative to the diagonal entry, that is not only rounding: entries of Ĥ are f32 numbers, with a
/// relative precision of 6 · 10⁻⁸.
const SAFE_PIVOT: f64 = 1e-7;

/// Largest ridge to which a smaller one grows. With it, any second moment of inputs has safe pivots.
const LARGEST_RIDGE: f64 = 1.0;

/// Ĥ + λI = L Lᵀ. A dead input, whose row and column are zero, has the mean of the diagonal there, so that no ridge is
/// needed for it.
pub(crate) struct RidgeFactor {
    inputs: usize,
    /// The upper triangle holds Lᵀ, k × k, row-major.
    factor: Vec<f64>,
    ridge: f64,
}

impl RidgeFactor {
    /// Factors Ĥ with a ridge of at least `ridge` times the mean of its diagonal. The ridge grows tenfold, from at least
    /// 10⁻⁷, until no pivot is smaller than [`SAFE_PIVOT`] of its diagonal entry.
    ///
    /// # Errors
    /// [`Error::HessianNotSemidefinite`] where a ridge beyond [`LARGEST_RIDGE`] would be needed.
    pub fn new(moments: &PairMoments, mut ridge: f64) -> Result<Self, Error> {
        let inputs = moments.inputs();
        let hessian = moments.hessian();
        let mean = Some(hessian.mean() / hessian.scale()).filter(|mean| *mean > 0.0).unwrap_or(1.0);
        let mut factor = vec![0.0; inputs * inputs];
        loop {
            factor.par_chunks_mut(inputs).enumerate().for_each(|(i, row)| {
                moments.write_hessian(i, row);
                row[i] = if row[i] > 0.0 { row[i] + ridge * mean } else { mean };
            });
            let diagonal: Vec<f64> = (0..inputs).map(|i| factor[i * (inputs + 1)]).collect();
            if cholesky(&mut factor, inputs) && has_safe_pivots(&factor, &diagonal) {
                return Ok(RidgeFactor { inputs, factor, ridge });
            }
            if ridge >= LARGEST_RIDGE {
                return Err(Error::HessianNotSemidefinite { ridge });
            }
            ridge = (10.0 * ridge).clamp(1e-7, LARGEST_RIDGE);
        }
    }

    /// Returns λ over the mean of Ĥ's diagonal.
    pub fn ridge(&self) -> f64 {
        self.ridge
    }

    /// Computes rows ← rows · L⁻ᵀ, row-major with k columns.
    pub fn whiten(&self, rows: &mut [f64]) {
        solve_transposed_factor(&self.factor, rows, self.inputs);
    }

    /// Computes rows ← rows · (Ĥ + λI)⁻¹, row-major with k columns.
    pub fn solve(&self, rows: &mut [f64]) {
        self.whiten(rows);
        solve_factor(&self.factor, rows, self.inputs);
    }
}

/// Tells whether no pivot of a factor is smaller than [`SAFE_PIVOT`] of the diagonal entry that it was made of, or NaN.
fn has_safe_pivots(factor: &[f64], diagonal: &[f64]) -> bool {
    let pivots = factor.iter().step_by(diagonal.len() + 1);
    pivots.zip(diagonal).all(|(pivot, entry)| pivot * pivot >= SAFE_PIVOT * entry)
}
