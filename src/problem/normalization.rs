//! The weights of a loss: NoWag's scales, and the importance of every input.

use rayon::prelude::*;

use crate::error::Error;
use crate::input::hessian::MIN_IMPORTANCE;
use crate::input::layer::Layer;

/// The weights of a separable proxy loss: Σ_ij d_j (W̄_ij − Ŵ̄_ij)² with W̄_ij = W_ij / (r1_j r2_i).
///
/// Both W and Ŵ are divided by the scales, so the loss says what a difference of one scale unit costs. An input of
/// importance 0 does not count.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalization {
    /// Row scales r2, length m, positive.
    pub rows: Vec<f64>,
    /// Column scales r1, length k, positive.
    pub cols: Vec<f64>,
    /// Column importances d, length k: not negative, at least one of them positive.
    pub importance: Vec<f64>,
}

impl Normalization {
    /// NoWag's scales (arXiv 2504.14569, used by ARMOR, section 3): r1_j = ‖W_:j‖, then r2_i = ‖(W / r1)_i:‖.
    ///
    /// A zero row or column gets scale 1. The importances are [`Hessian::importance`](crate::Hessian::importance).
    pub fn nowag(layer: &Layer<'_>) -> Self {
        let positive = |squares: f64| if squares > 0.0 { squares.sqrt() } else { 1.0 };
        let cols: Vec<f64> = column_squares(layer).into_iter().map(positive).collect();
        let rows = (0..layer.rows())
            .into_par_iter()
            .map_init(
                || vec![0.0; layer.cols()],
                |row, i| {
                    layer.weight().copy_row(i, 0..layer.cols(), row);
                    positive(row.iter().zip(&cols).map(|(&w, r)| (f64::from(w) / r).powi(2)).sum())
                },
            )
            .collect();
        Normalization { rows, cols, importance: layer.hessian().importance() }
    }

    /// Leaves rows and columns as they are, but for one common scale (the root mean square of W).
    pub fn plain(layer: &Layer<'_>) -> Self {
        let (m, k) = (layer.rows(), layer.cols());
        let mean = column_squares(layer).iter().sum::<f64>() / (m as f64 * k as f64);
        let scale = if mean > 0.0 { mean.sqrt() } else { 1.0 };
        Normalization { rows: vec![1.0; m], cols: vec![scale; k], importance: layer.hessian().importance() }
    }

    /// Weight of the squared error of entry (row, col) of the caller's W in this loss.
    pub(crate) fn error_weight(&self, row: usize, col: usize) -> f64 {
        self.importance[col] / (self.cols[col] * self.rows[row]).powi(2)
    }

    /// The importances that the descent works with: those of less than [`MIN_IMPORTANCE`] of the mean are raised to that,
    /// because whitening divides by their roots.
    pub(crate) fn raised_importance(&self) -> Vec<f64> {
        let floor = MIN_IMPORTANCE * self.importance.iter().sum::<f64>() / self.importance.len() as f64;
        self.importance.iter().map(|d| d.max(floor)).collect()
    }

    /// The roots √d of the importances that the descent works with.
    pub(crate) fn roots(&self) -> Vec<f64> {
        self.raised_importance().into_iter().map(f64::sqrt).collect()
    }

    /// Multiplies the importances and the row scales by powers of two that bring the largest importance, and the mean
    /// square of Y, near 1. Relative losses stay what they are.
    ///
    /// # Errors
    /// [`Error::LossScale`] where the sum of squares of Y leaves f64's range.
    pub(crate) fn rescaled(mut self, layer: &Layer<'_>) -> Result<Self, Error> {
        let largest = self.importance.iter().copied().fold(0.0, f64::max);
        // An even exponent: the square roots of the importances change by a power of two as well.
        let factor = (-2.0 * (largest.log2() / 2.0).round()).exp2();
        self.importance.iter_mut().for_each(|d| *d *= factor);
        let roots = self.roots();
        let mut row = vec![0.0; layer.cols()];
        let (mut energy, mut is_zero) = (0.0, true);
        for (i, scale) in self.rows.iter().enumerate() {
            layer.weight().copy_row(i, 0..layer.cols(), &mut row);
            for ((&w, r), root) in row.iter().zip(&self.cols).zip(&roots) {
                energy += (f64::from(w) * root / r / scale).powi(2);
                is_zero &= w == 0.0;
            }
        }
        if is_zero {
            return Ok(self);
        }
        if !(energy > 0.0 && energy.is_finite()) {
            return Err(Error::LossScale { energy });
        }
        let mean = energy / (layer.rows() as f64 * layer.cols() as f64);
        let factor = (mean.log2() / 2.0).round().exp2();
        self.rows.iter_mut().for_each(|r| *r *= factor);
        Ok(self)
    }

    pub(crate) fn check(&self, layer: &Layer<'_>) -> Result<(), Error> {
        let Normalization { rows, cols, importance } = self;
        let scales = [("normalization.rows", rows, layer.rows()), ("normalization.cols", cols, layer.cols())];
        for (argument, values, expected) in scales {
            check_length(argument, values, expected)?;
            let bad = values.iter().position(|&x| !(x.is_finite() && x > 0.0));
            if let Some(index) = bad {
                return Err(Error::NotPositive { argument, index, value: values[index] });
            }
        }
        let argument = "normalization.importance";
        check_length(argument, importance, layer.cols())?;
        let bad = importance.iter().position(|&d| !(d.is_finite() && d >= 0.0));
        match bad {
            Some(index) => Err(Error::Negative { argument, index, value: importance[index] }),
            None if importance.iter().all(|&d| d == 0.0) => Err(Error::AllZero { argument }),
            None => Ok(()),
        }
    }
}

fn check_length(argument: &'static str, values: &[f64], expected: usize) -> Result<(), Error> {
    if values.len() == expected { Ok(()) } else { Err(Error::Length { argument, found: values.len(), expected }) }
}

/// Σ_i W_ij² for every column j; chunks of fixed height keep the sum the same for any number of threads.
fn column_squares(layer: &Layer<'_>) -> Vec<f64> {
    const CHUNK: usize = 256;
    let (rows, cols) = (layer.rows(), layer.cols());
    let partials: Vec<Vec<f64>> = (0..rows.div_ceil(CHUNK))
        .into_par_iter()
        .map(|chunk| {
            let mut row = vec![0.0; cols];
            let mut squares = vec![0.0; cols];
            for i in chunk * CHUNK..rows.min((chunk + 1) * CHUNK) {
                layer.weight().copy_row(i, 0..cols, &mut row);
                for (square, &w) in squares.iter_mut().zip(&row) {
                    *square += f64::from(w) * f64::from(w);
                }
            }
            squares
        })
        .collect();
    let mut total = vec![0.0; cols];
    for partial in partials {
        for (sum, part) in total.iter_mut().zip(partial) {
            *sum += part;
        }
    }
    total
}
