//! The weight that makes up for inputs that drifted: least squares on pairs of a dense and a compressed model's inputs.

use ndarray::Array2;
use rayon::prelude::*;

use crate::error::Error;
use crate::input::layer::Layer;
use crate::input::pair_moments::PairMoments;
use crate::input::weight::Weight;
use crate::problem::pair_error::relative;
use crate::problem::ridge_factor::RidgeFactor;
use crate::problem::weight_strip::{HEIGHT, dot, product, strips, weights_of, widened};

/// How much [`PairMoments::correct`] changes a weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CorrectionOptions {
    /// γ, the part of the correction that is made. Default: 1, least squares on the calibration tokens. Range: 0 to 1; a
    /// smaller one damps what the calibration tokens say of themselves alone, and 0 leaves the weight as it is.
    pub strength: f64,
    /// λ over the mean of the diagonal of Ĥ. Default: 0.01. Range: 0 to 10⁶. It grows tenfold, from at least 10⁻⁷,
    /// until the Cholesky factorisation of Ĥ + λI is safe.
    pub ridge: f64,
}

impl Default for CorrectionOptions {
    fn default() -> Self {
        CorrectionOptions { strength: 1.0, ridge: 0.01 }
    }
}

impl CorrectionOptions {
    /// Refuses values out of their ranges.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |name, value: f64, expected| Err(Error::Option { name, value: value.to_string(), expected });
        if !(0.0..=1.0).contains(&self.strength) {
            return refuse("strength", self.strength, "0 to 1");
        }
        if !(0.0..=1e6).contains(&self.ridge) {
            return refuse("ridge", self.ridge, "0 to 1e6");
        }
        Ok(())
    }
}

/// A weight that was changed for the inputs of the compressed model, and what the change can reach.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Correction {
    /// W* = W + γ W Δ (Ĥ + λI)⁻¹, m × k: what is factorised, under Ĥ, in the place of W.
    pub weight: Array2<f32>,
    /// γ.
    pub strength: f64,
    /// The λ that was used, over the mean of the diagonal of Ĥ.
    pub ridge: f64,
    /// E‖W x‖², the mean energy of the dense layer's outputs for one token.
    pub energy: f64,
    /// E‖W x − W x̂‖² / E‖W x‖²: what the layer loses without a correction, before it is compressed itself.
    pub drift: f64,
    /// The least E‖W x − Ŵ x̂‖² / E‖W x‖² of any Ŵ: what is lost of the outputs whatever the weight is, because x̂ does not
    /// have it. It is that of γ = 1 and of the smallest λ that is safe, which is 0 unless Ĥ is singular.
    pub irreducible: f64,
}

impl PairMoments {
    /// Computes the weight W* = W + γ W Δ (Ĥ + λI)⁻¹ that makes up for the drift of the inputs, where W, m × k, is the
    /// weight of the dense layer.
    ///
    /// With γ = 1 and λ → 0, E‖W x − Ŵ x̂‖² is ‖W* − Ŵ‖² under Ĥ, tr((W* − Ŵ) Ĥ (W* − Ŵ)ᵀ), plus a part that no Ŵ
    /// changes. So W* is factorised under [`PairMoments::hessian`]:
    ///
    /// ```
    /// use armor_core::{CorrectionOptions, Layer, Options, PairAccumulator, factorize};
    /// use ndarray::Array2;
    ///
    /// // 200 tokens of 8 inputs, of which the compressed model loses a part and mixes another one in.
    /// let dense = Array2::from_shape_fn((200, 8), |(t, j)| ((13 * t + 5 * j + t * j) % 17) as f32 - 8.0);
    /// let compressed = Array2::from_shape_fn((200, 8), |(t, j)| 0.8 * dense[[t, j]] + 0.3 * dense[[t, (j + 1) % 8]]);
    /// let mut accumulator = PairAccumulator::new(8);
    /// accumulator.add(&dense, &compressed)?;
    /// let moments = accumulator.moments()?;
    ///
    /// let weight = Array2::from_shape_fn((16, 8), |(i, j)| ((7 * i + 3 * j) % 23) as f32 - 11.0);
    /// let corrected = moments.correct(&weight, &CorrectionOptions::default())?;
    /// let options = Options::exact().block(8).iterations(20);
    /// let error_from = |start: &Array2<f32>| -> Result<f64, armor_core::Error> {
    ///     let layer = Layer::new(start, moments.hessian().clone())?;
    ///     moments.output_error(&weight, &factorize(&layer, &options)?.reconstruct().view())
    /// };
    /// assert!(error_from(&corrected.weight)? < error_from(&weight)?);
    /// # Ok::<(), armor_core::Error>(())
    /// ```
    ///
    /// The weight is rounded to f32 first, and so is the result; between, all is f64. Where the correction is zero, the
    /// result has the bits of W: everywhere for γ = 0 or where all inputs are equal in both models, and at dead inputs of Ĥ,
    /// which are zero on every token in the compressed model.
    ///
    /// The current rayon pool computes the correction, by strips of rows. The result has the same bits for any number of
    /// threads. Memory: the result, k² f64 numbers, and about 256 k f64 numbers for each thread.
    ///
    /// # Errors
    /// [`Error::Option`] for a strength or a ridge out of range; those of [`Layer::new`];
    /// [`Error::HessianNotSemidefinite`], which no inputs cause; [`Error::Overflow`] with the first entry of W* that is
    /// beyond the range of f32.
    pub fn correct<'a>(&self, weight: impl Into<Weight<'a>>, options: &CorrectionOptions) -> Result<Correction, Error> {
        options.check()?;
        let layer = Layer::new(weight, self.hessian().clone())?;
        let exact = RidgeFactor::new(self, 0.0)?;
        let OutputEnergies { whole, drift, explained } = self.energies(&layer, &exact);
        let factor = if options.ridge > 0.0 {
            drop(exact);
            RidgeFactor::new(self, options.ridge)?
        } else {
            exact
        };
        Ok(Correction {
            weight: self.corrected(&layer, &factor, options.strength)?,
            strength: options.strength,
            ridge: factor.ridge(),
            energy: whole.max(0.0),
            drift: relative(drift, whole),
            irreducible: relative(drift - explained, whole),
        })
    }

    /// Measures the outputs of W.
    fn energies(&self, layer: &Layer<'_>, factor: &RidgeFactor) -> OutputEnergies {
        let inputs = layer.cols();
        let terms: Vec<OutputEnergies> = strips(layer)
            .map(|rows| {
                let weights = widened(&weights_of(layer, rows));
                let seen = dot(&weights, &product(&weights, inputs, |row, out| self.write_hessian(row, out)));
                let drift = dot(&weights, &product(&weights, inputs, |row, out| self.write_differences(row, out)));
                let mut crossed = product(&weights, inputs, |row, out| self.write_cross(row, out));
                let whole = drift + 2.0 * dot(&weights, &crossed) + seen;
                factor.whiten(&mut crossed);
                OutputEnergies { whole, drift, explained: dot(&crossed, &crossed) }
            })
            .collect();
        terms.iter().fold(OutputEnergies::default(), |sum, term| OutputEnergies {
            whole: sum.whole + term.whole,
            drift: sum.drift + term.drift,
            explained: sum.explained + term.explained,
        })
    }

    /// Computes W + γ W Δ (Ĥ + λI)⁻¹.
    ///
    /// # Errors
    /// [`Error::Overflow`] with the first entry that f32 cannot hold.
    fn corrected(&self, layer: &Layer<'_>, factor: &RidgeFactor, strength: f64) -> Result<Array2<f32>, Error> {
        let inputs = layer.cols();
        let mut corrected = Array2::zeros((layer.rows(), inputs));
        let values = corrected.as_slice_mut().expect("a new array is contiguous");
        let overflow = values.par_chunks_mut(HEIGHT * inputs).zip(strips(layer)).find_map_first(|(out, rows)| {
            out.copy_from_slice(&weights_of(layer, rows.clone()));
            let mut changes = product(&widened(out), inputs, |row, out| self.write_cross(row, out));
            factor.solve(&mut changes);
            for (value, change) in out.iter_mut().zip(&changes) {
                // A sum with zero would change the sign of −0.
                if strength * change != 0.0 {
                    *value = (f64::from(*value) + strength * change) as f32;
                }
            }
            let index = out.iter().position(|value| !value.is_finite())?;
            let (row, col) = (rows.start + index / inputs, index % inputs);
            Some(Error::Overflow { argument: "weight", row, col, value: out[index], dtype: "f32" })
        });
        overflow.map_or(Ok(corrected), Err)
    }
}

/// Energies of the outputs of a weight for one token.
#[derive(Clone, Copy, Default)]
struct OutputEnergies {
    /// E‖W x‖².
    whole: f64,
    /// E‖W (x − x̂)‖².
    drift: f64,
    /// The part of that which a change of the weight makes up for, tr(W Δ (Ĥ + λI)⁻¹ Δᵀ Wᵀ).
    explained: f64,
}
