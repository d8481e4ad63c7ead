//! The output error of a replaced weight that sees the inputs of the compressed model.

use ndarray::{ArrayView2, s};
use rayon::prelude::*;

use crate::error::Error;
use crate::input::layer::Layer;
use crate::input::pair_moments::PairMoments;
use crate::input::weight::Weight;
use crate::problem::weight_strip::{dot, product, strips, weights_of, widened};

impl PairMoments {
    /// Measures E‖W x − Ŵ x̂‖² / E‖W x‖² in f64: how far the outputs of the compressed layer, which sees x̂, are from
    /// those of the dense layer, which sees x. W is the dense layer's own weight, not a corrected one; `compressed` is Ŵ,
    /// of the same shape m × k, for instance from [`Factorization::reconstruct`](crate::Factorization::reconstruct).
    ///
    /// The moments may be others than those that Ŵ was fitted to: those of held-out tokens test the fit. With E = W − Ŵ
    /// and d = x − x̂ the numerator is tr(W E\[d dᵀ\] Wᵀ) + 2 tr(W Δ Eᵀ) + tr(E Ĥ Eᵀ). Its terms are precise to about
    /// 10⁻⁶ of the largest, so a result of that size may be rounding; it is never negative. It is 0 where nothing is lost,
    /// and infinite where W x is zero for all tokens but Ŵ x̂ is not.
    ///
    /// # Errors
    /// Those of [`Layer::new`]; [`Error::Length`] where `compressed` has another shape; [`Error::NotFinite`] with its first
    /// NaN or infinity.
    pub fn output_error<'a>(
        &self,
        weight: impl Into<Weight<'a>>,
        compressed: &ArrayView2<'_, f32>,
    ) -> Result<f64, Error> {
        let layer = Layer::new(weight, self.hessian().clone())?;
        for (argument, found, expected) in [
            ("rows of compressed", compressed.nrows(), layer.rows()),
            ("columns of compressed", compressed.ncols(), layer.cols()),
        ] {
            if found != expected {
                return Err(Error::Length { argument, found, expected });
            }
        }
        if let Some(((row, col), &value)) = compressed.indexed_iter().find(|(_, value)| !value.is_finite()) {
            return Err(Error::NotFinite { argument: "compressed", row, col, value: value.into() });
        }
        let inputs = layer.cols();
        let terms: Vec<(f64, f64)> = strips(&layer)
            .map(|rows| {
                let weights = widened(&weights_of(&layer, rows.clone()));
                let replaced = compressed.slice(s![rows, ..]);
                let errors: Vec<f64> = weights.iter().zip(&replaced).map(|(w, &r)| w - f64::from(r)).collect();
                let drift = dot(&weights, &product(&weights, inputs, |row, out| self.write_differences(row, out)));
                let crossed = product(&weights, inputs, |row, out| self.write_cross(row, out));
                let form = |x: &[f64]| dot(x, &product(x, inputs, |row, out| self.write_hessian(row, out)));
                let of = |x: &[f64]| drift + 2.0 * dot(x, &crossed) + form(x);
                (of(&errors), of(&weights))
            })
            .collect();
        let (lost, energy) = terms.iter().fold((0.0, 0.0), |sums, term| (sums.0 + term.0, sums.1 + term.1));
        Ok(relative(lost, energy))
    }
}

/// Relates a part of the outputs' energy to all of it; only rounding takes either below zero.
pub(crate) fn relative(part: f64, energy: f64) -> f64 {
    if part > 0.0 { part / energy.max(0.0) } else { 0.0 }
}
