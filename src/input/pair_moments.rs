//! The second moments of a layer's inputs x in the dense model and x̂ in the compressed one.

use std::sync::Arc;

use rayon::prelude::*;

use crate::error::Error;
use crate::input::hessian::Hessian;

/// The second moments of pairs (x, x̂) of a layer's inputs, made by [`PairAccumulator::moments`]: Ĥ = E\[x̂ x̂ᵀ\],
/// Δ = E\[(x − x̂) x̂ᵀ\] and E\[(x − x̂)(x − x̂)ᵀ\], each k × k. They never change.
///
/// A layer is factorised under Ĥ, [`PairMoments::hessian`], because x̂ is what it will see; and in the place of its weight W
/// stands the one of [`PairMoments::correct`], because W x, not W x̂, is the output that it should have.
///
/// Memory: 3k² f32 numbers, shared between clones; 1.5 GB for k = 11008.
///
/// [`PairAccumulator::moments`]: crate::PairAccumulator::moments
#[derive(Clone, Debug, PartialEq)]
pub struct PairMoments {
    tokens: u64,
    hessian: Hessian,
    /// E[d dᵀ] of the differences d = x − x̂.
    differences: Hessian,
    /// Δ times `cross_scale`, row-major. All three moments are kept in f32: the products that were added up were f32, which
    /// leaves an error of 10⁻⁶ of √(E[d_i²] E[x̂_j²]), and the rounding of the sums adds less than a tenth of that. Whatever
    /// is computed from the entries is f64.
    cross: Arc<Vec<f32>>,
    /// A power of two that keeps the entries in the range of f32.
    cross_scale: f64,
}

impl PairMoments {
    /// Makes the moments from those of z, which stacks d and x̂: `stacked` returns an entry of E[z zᵀ], 2k × 2k.
    ///
    /// # Errors
    /// As [`Hessian::from_full`].
    pub(crate) fn of_stacked(
        tokens: u64,
        inputs: usize,
        stacked: impl Fn(usize, usize) -> f64 + Sync,
    ) -> Result<Self, Error> {
        let moment = |start: usize| {
            let diagonal = (start..start + inputs).map(|i| stacked(i, i)).collect();
            Hessian::of_moments(diagonal)?.with_entries(|i, j| stacked(start + i, start + j), 0.0)
        };
        let (differences, hessian) = (moment(0)?, moment(inputs)?);
        let size = (differences.mean() / differences.scale()).sqrt() * (hessian.mean() / hessian.scale()).sqrt();
        let cross_scale = if size > 0.0 { (-size.log2().round()).exp2() } else { 1.0 };
        let mut cross = vec![0.0; inputs * inputs];
        cross.par_chunks_mut(inputs.max(1)).enumerate().for_each(|(i, row)| {
            for (j, out) in row.iter_mut().enumerate() {
                // Squares below the range of f32 count as zero; so do the products with such a number.
                if differences.diagonal()[i] > 0.0 && hessian.diagonal()[j] > 0.0 {
                    *out = (stacked(i, inputs + j) * cross_scale) as f32;
                }
            }
        });
        Ok(PairMoments { tokens, hessian, differences, cross: Arc::new(cross), cross_scale })
    }

    /// Returns the number of tokens, N.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Returns the number of inputs, k.
    pub fn inputs(&self) -> usize {
        self.hessian.len()
    }

    /// Returns Ĥ = E\[x̂ x̂ᵀ\], the whole matrix: the Hessian of the inputs that the layer sees in the compressed model.
    pub fn hessian(&self) -> &Hessian {
        &self.hessian
    }

    /// Writes row `row` of Ĥ in its own units.
    pub(crate) fn write_hessian(&self, row: usize, out: &mut [f64]) {
        write(self.hessian.row(row).unwrap_or_default(), self.hessian.scale(), out);
    }

    /// Writes row `row` of E[d dᵀ] in its own units.
    pub(crate) fn write_differences(&self, row: usize, out: &mut [f64]) {
        write(self.differences.row(row).unwrap_or_default(), self.differences.scale(), out);
    }

    /// Writes row `row` of Δ in its own units.
    pub(crate) fn write_cross(&self, row: usize, out: &mut [f64]) {
        write(&self.cross[row * self.inputs()..][..self.inputs()], self.cross_scale, out);
    }
}

/// Writes values that were multiplied by a power of two as they were before.
fn write(values: &[f32], scale: f64, out: &mut [f64]) {
    for (out, &value) in out.iter_mut().zip(values) {
        *out = f64::from(value) / scale;
    }
}
