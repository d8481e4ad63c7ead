//! The second moment of a layer's inputs, H = (1/N) Σ x xᵀ over N calibration tokens.

use std::sync::Arc;

use ndarray::{ArrayBase, Data, Ix1, Ix2};
use rayon::prelude::*;

use crate::error::Error;
use crate::input::weight::{Element, fits_f32};
use crate::kernels::pool;

/// How much of a Hessian is known, or accumulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HessianKind {
    /// The diagonal, k numbers.
    Diagonal,
    /// The whole matrix, k × k.
    Full,
}

/// The Hessian of a layer's k inputs: the whole matrix, k × k, or its diagonal d, length k.
///
/// The layer's squared output error under a weight change ΔW is tr(ΔW H ΔWᵀ), which is Σ_ij d_j ΔW_ij² when only the
/// diagonal is known. The scale of H does not matter. The whole matrix is kept in f32, shared between clones.
///
/// # Dead inputs
///
/// An input with d_j = 0 was zero on every calibration token: no output depended on its weights. It does not count.
/// Pruning by [`NoWagP`](crate::NoWagP), [`Wanda`](crate::Wanda) and [`SparseGpt`](crate::SparseGpt) removes its weights
/// before those of any other input, and errors in them have the weight 0 in every reported loss.
/// [`Hessian::dead_inputs`] counts such inputs. An H that is all zero says nothing about any input: it is taken as the
/// identity, under which all inputs count alike, and all of its inputs are reported as dead.
#[derive(Clone, Debug, PartialEq)]
pub struct Hessian {
    diagonal: Vec<f64>,
    full: Option<Arc<Vec<f32>>>,
    /// The power of two that both were multiplied by.
    scale: f64,
}

impl Hessian {
    /// Makes a Hessian from its diagonal d, length k: the mean square of every input.
    ///
    /// # Errors
    /// [`Error::HessianNotFinite`] or [`Error::HessianNegative`] with the first bad position.
    pub fn from_diagonal<T: Element>(diagonal: &ArrayBase<impl Data<Elem = T>, Ix1>) -> Result<Self, Error> {
        Self::of_moments(diagonal.mapv(T::to_f64).to_vec())
    }

    /// Makes a Hessian from the diagonal of a full one, k × k.
    ///
    /// # Errors
    /// [`Error::HessianNotSquare`], or as [`Hessian::from_diagonal`]; off-diagonal entries are not read.
    pub fn from_diagonal_of<T: Element>(full: &ArrayBase<impl Data<Elem = T>, Ix2>) -> Result<Self, Error> {
        let (rows, cols) = full.dim();
        if rows != cols {
            return Err(Error::HessianNotSquare { rows, cols });
        }
        Self::of_moments(full.diag().mapv(T::to_f64).to_vec())
    }

    /// Makes a Hessian from the whole matrix, k × k. It stores (H + Hᵀ) / 2 in f32, times a power of two where the mean of
    /// the diagonal is far from 1.
    ///
    /// The matrix may be singular. The row and the column of an input with H_jj = 0 are taken as zero.
    ///
    /// # Errors
    /// [`Error::HessianNotSquare`]; [`Error::HessianNotFinite`], [`Error::HessianNegative`] or
    /// [`Error::HessianAsymmetric`] with the first bad position. Mirrored entries may differ by rounding: by
    /// 10⁻⁵ √(H_ii H_jj) plus two units in the last place of the element type. [`Error::HessianIndefinite`] for an
    /// entry that exceeds √(H_ii H_jj) by more than 1 %, which no inputs can cause.
    ///
    /// ```
    /// use armor_core::{Error, Hessian, HessianKind};
    /// use ndarray::array;
    /// let hessian = Hessian::from_full(&array![[2.0_f32, 0.5], [0.5, 1.0]])?;
    /// assert_eq!(hessian.kind(), HessianKind::Full);
    /// let error = Hessian::from_full(&array![[2.0_f32, 0.5], [0.7, 1.0]]).unwrap_err();
    /// assert!(matches!(error, Error::HessianAsymmetric { row: 0, col: 1, .. }));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn from_full<T: Element>(full: &ArrayBase<impl Data<Elem = T> + Sync, Ix2>) -> Result<Self, Error> {
        Self::from_diagonal_of(full)?.with_entries(|i, j| full[[i, j]].to_f64(), 2.0 * T::epsilon())
    }

    /// Adds the whole matrix to a diagonal. Mirrored entries may differ by `relative` times the larger one.
    ///
    /// # Errors
    /// As [`Hessian::from_full`], and [`Error::Threads`].
    pub(crate) fn with_entries(self, entry: impl Fn(usize, usize) -> f64 + Sync, relative: f64) -> Result<Self, Error> {
        pool::start()?;
        let k = self.len();
        let mean = self.mean();
        let rules = Rules { relative, scale: balance(mean), floor: MIN_IMPORTANCE * mean };
        let scale = rules.scale;
        let mut values = vec![0.0f32; k * k];
        let bad = values
            .par_chunks_mut(k.max(1))
            .enumerate()
            .find_map_first(|(row, out)| symmetric_row(row, out, &self.diagonal, &entry, rules).err());
        match bad {
            Some(error) => Err(error),
            None => {
                let diagonal = self.diagonal.iter().map(|d| d * scale).collect();
                Ok(Hessian { full: Some(Arc::new(values)), diagonal, scale })
            }
        }
    }

    /// Makes the identity over k inputs, which weights all inputs equally, for use without calibration data.
    pub fn identity(k: usize) -> Self {
        Hessian { diagonal: vec![1.0; k], full: None, scale: 1.0 }
    }

    /// Makes a Hessian from the mean square of every input.
    ///
    /// # Errors
    /// As [`Hessian::from_diagonal`].
    pub(crate) fn of_moments(diagonal: Vec<f64>) -> Result<Self, Error> {
        for (index, &value) in diagonal.iter().enumerate() {
            if !fits_f32(value) {
                return Err(Error::HessianNotFinite { row: index, col: index, value });
            }
            if value < 0.0 {
                return Err(Error::HessianNegative { index, value });
            }
        }
        Ok(Hessian { diagonal, full: None, scale: 1.0 })
    }

    /// Returns the number of inputs, k.
    pub fn len(&self) -> usize {
        self.diagonal.len()
    }

    /// Tells whether k is zero.
    pub fn is_empty(&self) -> bool {
        self.diagonal.is_empty()
    }

    /// Tells how much of the matrix is known.
    pub fn kind(&self) -> HessianKind {
        if self.full.is_some() { HessianKind::Full } else { HessianKind::Diagonal }
    }

    /// Returns the diagonal d, length k: the numbers given, times [`Hessian::scale`].
    pub fn diagonal(&self) -> &[f64] {
        &self.diagonal
    }

    /// Returns the power of two that the numbers given were multiplied by: 1, unless the whole matrix is known and the mean
    /// of its diagonal is beyond 2^±40.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// Returns row `row` of the whole matrix, times [`Hessian::scale`]; `None` where only the diagonal is known.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> Option<&[f32]> {
        assert!(row < self.len(), "no row {row} in a Hessian of {} inputs", self.len());
        self.full.as_ref().map(|full| &full[row * self.len()..(row + 1) * self.len()])
    }

    /// Counts the inputs with d_j = 0: those that were zero on every calibration token, and do not count. Where this is
    /// the number of all inputs, the identity stands in for H.
    pub fn dead_inputs(&self) -> usize {
        self.diagonal.iter().filter(|&&d| d == 0.0).count()
    }

    /// Computes the importance of each input, d over its mean over all k inputs: 0 for a dead input. All are 1 where H is
    /// all zero.
    pub fn importance(&self) -> Vec<f64> {
        let mean = self.mean();
        if mean > 0.0 { self.diagonal.iter().map(|d| d / mean).collect() } else { vec![1.0; self.len()] }
    }

    /// Computes the mean of the diagonal; 0 where H is all zero, and only then.
    pub(crate) fn mean(&self) -> f64 {
        let sum: f64 = self.diagonal.iter().sum();
        if sum > 0.0 { (sum / self.len() as f64).max(f64::from_bits(1)) } else { 0.0 }
    }
}

/// Smallest importance, relative to the mean, that whitening works with: a smaller one changes the loss by less than the
/// precision of f32.
pub(crate) const MIN_IMPORTANCE: f64 = 1e-12;

/// Largest ratio of an entry to √(H_ii H_jj) that rounding can cause.
pub(crate) const ROUNDING_SLACK: f64 = 1.01;

/// The tolerances that the rows of a full Hessian are checked with, and their scale.
#[derive(Clone, Copy)]
struct Rules {
    /// Relative difference of mirrored entries that the rounding of the element type can cause.
    relative: f64,
    scale: f64,
    /// Smallest diagonal entry that bounds the others; smaller ones have rounding errors of their own size.
    floor: f64,
}

/// Computes the power of two that brings a mean beyond 2^±40 near 1, so that f32 holds the entries; 1 for other means.
fn balance(mean: f64) -> f64 {
    let exponent = mean.log2().round();
    if mean > 0.0 && exponent.abs() > 40.0 { (-exponent).clamp(-1000.0, 1000.0).exp2() } else { 1.0 }
}

/// Writes row `row` of (H + Hᵀ) / 2 times `scale`.
///
/// # Errors
/// The first entry of the row that is not finite, not symmetric or too large for a Hessian.
fn symmetric_row(
    row: usize,
    out: &mut [f32],
    diagonal: &[f64],
    entry: impl Fn(usize, usize) -> f64,
    Rules { relative, scale, floor }: Rules,
) -> Result<(), Error> {
    const ROUNDING: f64 = 1e-5;
    for (col, out) in out.iter_mut().enumerate() {
        let (value, mirrored) = (entry(row, col), entry(col, row));
        if !fits_f32(value) {
            return Err(Error::HessianNotFinite { row, col, value });
        }
        let alive = diagonal[row] > 0.0 && diagonal[col] > 0.0;
        let slack = ROUNDING * diagonal[row].sqrt() * diagonal[col].sqrt() + relative * value.abs().max(mirrored.abs());
        if alive && mirrored.is_finite() && (value - mirrored).abs() > slack {
            return Err(Error::HessianAsymmetric { row, col, value, mirrored });
        }
        let bound = diagonal[row].max(floor).sqrt() * diagonal[col].max(floor).sqrt();
        if alive && value.abs() > ROUNDING_SLACK * bound {
            return Err(Error::HessianIndefinite { row, col, value, bound });
        }
        *out = if alive { (0.5 * scale * (value + mirrored)) as f32 } else { 0.0 };
    }
    Ok(())
}
