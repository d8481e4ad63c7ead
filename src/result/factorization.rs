//! The result: factors of the caller's own weight, with their losses and the record of the run.

use std::time::Duration;

use ndarray::{Array1, Array2, ArrayView1};
use rayon::prelude::*;

use crate::error::Error;
use crate::factors::block_diagonal::BlockDiagonal;
use crate::factors::precision::FactorPrecision;
use crate::factors::sparse_core::SparseCore;
use crate::factors::triple::Factors;
use crate::input::layer::Layer;
use crate::problem::measure::{Replacement, check_shape, output_error, product_rows, relative_loss};
use crate::problem::proxy_loss::loss::ProxyLoss;
use crate::problem::target::Target;
use crate::result::record::{RunRecord, StopReason};

/// A factorised layer, Ŵ = A S B for the caller's own W. It is immutable, and the wrappers include all scaling.
///
/// Two results are equal where their factors, losses and records are equal; the wall time is not compared.
#[derive(Clone, Debug)]
pub struct Factorization {
    factors: Factors,
    loss: f64,
    nowag_p_loss: f64,
    record: RunRecord,
    elapsed: Duration,
}

impl PartialEq for Factorization {
    fn eq(&self, other: &Self) -> bool {
        let numbers = |result: &Self| (result.loss, result.nowag_p_loss);
        self.factors == other.factors && numbers(self) == numbers(other) && self.record == other.record
    }
}

impl Factorization {
    /// Makes a result from the factors of the caller's own weight, their relative loss and NoWag-P's, the record of the run
    /// and its wall time.
    pub(crate) fn new(
        factors: Factors,
        (loss, nowag_p_loss): (f64, f64),
        record: RunRecord,
        elapsed: Duration,
    ) -> Self {
        Factorization { factors, loss, nowag_p_loss, record, elapsed }
    }

    /// Returns all three factors.
    pub(crate) fn factors(&self) -> &Factors {
        &self.factors
    }

    /// Returns the record of the run.
    pub(crate) fn record(&self) -> &RunRecord {
        &self.record
    }

    /// Rounds every factor to the nearest numbers of its type. [`Factorization::loss`] and the history remain those of
    /// the factors before rounding.
    ///
    /// # Errors
    /// [`Error::Overflow`] with the first value beyond the range of its type.
    ///
    /// ```
    /// # use armor_core::{Hessian, Layer, Options, factorize};
    /// use armor_core::Precision;
    /// # let weight = ndarray::Array2::from_shape_fn((32, 64), |(i, j)| ((7 * i + 3 * j) % 23) as f32 - 11.0);
    /// # let layer = Layer::new(&weight, Hessian::identity(64))?;
    /// # let result = factorize(&layer, &Options::exact().block(16).iterations(2))?;
    /// let rounded = result.clone().rounded(Precision::Bf16)?;
    /// assert_ne!(rounded.reconstruct(), result.reconstruct());
    /// assert_eq!(rounded.clone().rounded(Precision::Bf16)?, rounded);
    /// # Ok::<(), armor_core::Error>(())
    /// ```
    pub fn rounded(mut self, precision: impl Into<FactorPrecision>) -> Result<Self, Error> {
        self.factors.round(precision.into())?;
        Ok(self)
    }

    /// Returns the left wrapper A, m × m in blocks of p.
    pub fn left(&self) -> &BlockDiagonal {
        &self.factors.left
    }

    /// Returns the N:M sparse core S, m × k.
    pub fn core(&self) -> &SparseCore {
        &self.factors.core
    }

    /// Returns the right wrapper B, k × k in blocks of q.
    pub fn right(&self) -> &BlockDiagonal {
        &self.factors.right
    }

    /// Returns the relative proxy loss of these factors, computed in f64 from their f32 values; Ŵ = 0 would have 1. It is 0
    /// for a weight that is zero at every input that counts.
    pub fn loss(&self) -> f64 {
        self.loss
    }

    /// Returns the relative proxy loss of NoWag-P, which only prunes, measured in the same way; [`Factorization::loss`] of a
    /// run is never above it.
    pub fn nowag_p_loss(&self) -> f64 {
        self.nowag_p_loss
    }

    /// Measures another relative proxy loss of these factors in f64, for the layer that they approximate.
    ///
    /// # Errors
    /// [`Error::Length`] where the layer has another shape, and the errors of the loss itself.
    ///
    /// ```
    /// use armor_core::{Hessian, Layer, NoWagLoss, Options, RowWeighting, factorize};
    /// use ndarray::Array2;
    ///
    /// let weight = Array2::from_shape_fn((32, 64), |(i, j)| ((7 * i + 3 * j) % 23) as f32 - 11.0);
    /// let layer = Layer::new(&weight, Hessian::identity(64))?;
    /// let options = Options::exact().block(16).iterations(5);
    /// let unweighted = factorize(&layer, &options.clone().row_weighting(RowWeighting::Uniform))?;
    /// assert_eq!(factorize(&layer, &options)?.loss(), factorize(&layer, &options)?.proxy_loss(&layer, &NoWagLoss)?);
    /// assert_ne!(unweighted.loss(), unweighted.proxy_loss(&layer, &NoWagLoss)?);
    /// # Ok::<(), armor_core::Error>(())
    /// ```
    pub fn proxy_loss(&self, layer: &Layer<'_>, loss: &dyn ProxyLoss) -> Result<f64, Error> {
        check_shape(&self.factors, layer)?;
        let blocks = (self.factors.left.block_size(), self.factors.right.block_size());
        let target = Target::for_loss(layer, loss, blocks, self.factors.core.pattern(), None)?;
        Ok(relative_loss(&Replacement::Factors(&self.factors), layer, &target))
    }

    /// Measures the relative output error tr((W − Ŵ) H (W − Ŵ)ᵀ) / tr(W H Wᵀ) in f64, for the layer's own W and H.
    ///
    /// The layer may have another Hessian than the one that the factors were fitted to: that of held-out inputs tests the
    /// fit. Dead inputs have the weight 0; a Hessian that is all zero is taken as the identity. The error is 0 for a weight
    /// that is zero at every input that counts.
    ///
    /// # Errors
    /// [`Error::Length`] where the layer has another shape.
    pub fn output_error(&self, layer: &Layer<'_>) -> Result<f64, Error> {
        check_shape(&self.factors, layer)?;
        Ok(output_error(&Replacement::Factors(&self.factors), layer))
    }

    /// Returns the ridge that was added to the unit diagonal of the inputs' correlation matrix before its factorisation; 0
    /// where none was needed or the loss was separable.
    pub fn ridge(&self) -> f64 {
        self.record.ridge
    }

    /// Returns the number of inputs that were zero on every calibration token, d_j = 0, and did not count
    /// ([`Hessian`](crate::Hessian) says how). Where it is the number of all inputs, the Hessian was all zero, and the
    /// identity stood in for it.
    pub fn dead_inputs(&self) -> usize {
        self.record.dead_inputs
    }

    /// Returns the relative proxy loss that the descent computed: entry 0 for the initial mask, then one entry for each
    /// iteration. An input whose importance is below 10⁻¹² of the mean counts with 10⁻¹² of it here.
    pub fn history(&self) -> &[f64] {
        &self.record.history
    }

    /// Returns the number of iterations done.
    pub fn iterations(&self) -> usize {
        self.record.history.len() - 1
    }

    /// Returns the reason why the run ended.
    pub fn stop_reason(&self) -> StopReason {
        self.record.stop_reason
    }

    /// Returns the wall time of the run; zero for a factorisation that was read from bytes, which do not store it.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// Computes the wrapper overhead: the count of numbers in both wrappers over the count of entries of W, about
    /// p/k + q/m.
    pub fn overhead(&self) -> f64 {
        let wrappers = self.factors.left.data().len() + self.factors.right.data().len();
        wrappers as f64 / (self.factors.core.rows() as f64 * self.factors.core.cols() as f64)
    }

    /// Computes the bytes of the stored factors: `bytes_per_value` (4 for f32, 2 for f16) for each kept value and each
    /// number of the wrappers, and one bit of the mask for each entry of W.
    pub fn stored_bytes(&self, bytes_per_value: usize) -> usize {
        let kept = self.factors.core.pattern().kept(self.factors.core.cols()) * self.factors.core.rows();
        let values = kept + self.factors.left.data().len() + self.factors.right.data().len();
        values * bytes_per_value + self.factors.core.rows() * self.factors.core.cols().div_ceil(8)
    }

    /// Computes Ŵ = A S B, m × k, in f64 and rounds it to the nearest f32 number.
    pub fn reconstruct(&self) -> Array2<f32> {
        let shape = (self.factors.core.rows(), self.factors.core.cols());
        let mut product = vec![0.0; shape.0 * shape.1];
        product.par_chunks_mut(self.factors.left.block_size() * shape.1).enumerate().for_each(|(a, rows)| {
            for (out, value) in rows.iter_mut().zip(product_rows(&self.factors, a)) {
                *out = value.clamp(f32::MIN.into(), f32::MAX.into()) as f32;
            }
        });
        Array2::from_shape_vec(shape, product).expect("as many entries as the shape has")
    }

    /// Computes y = A (S (B x)) for one input x of length k, accumulated in f64, and returns the m outputs. This is a simple
    /// reference without packed kernels.
    ///
    /// # Errors
    /// [`Error::Length`] unless x has k entries. A NaN or an infinity in x makes every output that it reaches through B, S and
    /// A a NaN or an infinity; [`PackedFactorization::apply_into`](crate::PackedFactorization::apply_into) gives what the
    /// dense matrix would instead.
    pub fn apply(&self, x: ArrayView1<'_, f32>) -> Result<Array1<f32>, Error> {
        if x.len() != self.factors.core.cols() {
            return Err(Error::Length { argument: "x", found: x.len(), expected: self.factors.core.cols() });
        }
        let x = x.mapv(f64::from).to_vec();
        let y = self.factors.left.apply(&self.factors.core.apply(&self.factors.right.apply(&x)));
        Ok(y.into_iter().map(|y| y as f32).collect())
    }
}
