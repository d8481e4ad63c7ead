//! The second moment of a layer's inputs, H = (1/N) Σ x xᵀ over N calibration tokens.

use ndarray::{ArrayBase, Data, Ix1, Ix2};

use crate::Error;
use crate::layer::{Element, fits_f32};

/// The Hessian of a layer's k inputs; here its diagonal d, length k.
///
/// The layer's squared output error under a weight change ΔW is tr(ΔW H ΔWᵀ), which is Σ_ij d_j ΔW_ij² when only the
/// diagonal is known. The scale of H does not matter. An input that calibration never excited (d_j = 0) counts as
/// much as the mean of the others.
#[derive(Clone, Debug, PartialEq)]
pub struct Hessian {
    diagonal: Vec<f64>,
}

impl Hessian {
    /// Takes the diagonal d, length k: the mean square of every input.
    ///
    /// # Errors
    /// [`Error::HessianNotFinite`] or [`Error::HessianNegative`] with the first bad position.
    pub fn diagonal<T: Element>(diagonal: &ArrayBase<impl Data<Elem = T>, Ix1>) -> Result<Self, Error> {
        Self::from_values(diagonal.mapv(T::to_f64).to_vec())
    }

    /// Takes the diagonal of a full Hessian, k × k.
    ///
    /// # Errors
    /// [`Error::HessianNotSquare`], or as [`Hessian::diagonal`]; off-diagonal entries are not read.
    pub fn diagonal_of<T: Element>(full: &ArrayBase<impl Data<Elem = T>, Ix2>) -> Result<Self, Error> {
        let (rows, cols) = full.dim();
        if rows != cols {
            return Err(Error::HessianNotSquare { rows, cols });
        }
        Self::from_values(full.diag().mapv(T::to_f64).to_vec())
    }

    /// Weighs all k inputs alike: what is left when there is no calibration data.
    pub fn identity(k: usize) -> Self {
        Hessian { diagonal: vec![1.0; k] }
    }

    fn from_values(diagonal: Vec<f64>) -> Result<Self, Error> {
        for (index, &value) in diagonal.iter().enumerate() {
            if !fits_f32(value) {
                return Err(Error::HessianNotFinite { row: index, col: index, value });
            }
            if value < 0.0 {
                return Err(Error::HessianNegative { index, value });
            }
        }
        Ok(Hessian { diagonal })
    }

    /// Number of inputs, k.
    pub fn len(&self) -> usize {
        self.diagonal.len()
    }

    /// Whether it covers no inputs at all.
    pub fn is_empty(&self) -> bool {
        self.diagonal.is_empty()
    }

    /// The importance of each input, mean 1: d over its mean, where inputs that were never excited take the mean.
    ///
    /// An input below 10⁻¹² of the mean counts as that much, which moves the loss by less than f32 can hold.
    pub fn importance(&self) -> Vec<f64> {
        let excited = || self.diagonal.iter().filter(|&&d| d > 0.0);
        let mean = excited().sum::<f64>() / excited().count() as f64;
        self.diagonal.iter().map(|&d| if d > 0.0 { (d / mean).max(1e-12) } else { 1.0 }).collect()
    }
}
