//! A layer to factorise: its weight and the Hessian of its inputs, checked when the layer is made.

use rayon::prelude::*;

use crate::error::Error;
use crate::input::hessian::Hessian;
use crate::input::weight::Weight;
use crate::kernels::pool;

/// One linear layer of a network: the weight W, m × k, and the Hessian H of its k inputs.
///
/// Every `Layer` is valid: all entries of the weight are finite in f32, and the Hessian has as many inputs as the weight
/// has columns.
///
/// ```
/// use armor_core::{Hessian, Layer};
/// use ndarray::{Array2, array};
///
/// let weight: Array2<f32> = array![[0.1, -0.4, 0.2, 0.9], [1.0, 0.3, -0.2, 0.5]];
/// let layer = Layer::new(&weight, Hessian::from_diagonal(&array![1.0_f32, 4.0, 0.5, 2.0])?)?;
/// assert_eq!((layer.rows(), layer.cols()), (2, 4));
/// # Ok::<(), armor_core::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Layer<'a> {
    weight: Weight<'a>,
    hessian: Hessian,
}

impl<'a> Layer<'a> {
    /// Pairs a weight, m × k, with the Hessian of its k inputs.
    ///
    /// # Errors
    /// [`Error::EmptyWeight`], [`Error::SizeOverflow`], [`Error::HessianLength`], [`Error::Threads`] where the process's
    /// worker threads cannot be started, or [`Error::WeightNotFinite`] with the first NaN or infinity in row-major order.
    pub fn new(weight: impl Into<Weight<'a>>, hessian: Hessian) -> Result<Self, Error> {
        let weight = weight.into();
        let (rows, cols) = weight.dim();
        if rows == 0 || cols == 0 {
            return Err(Error::EmptyWeight { rows, cols });
        }
        if rows.checked_mul(cols).is_none_or(|n| n > isize::MAX as usize / size_of::<f64>()) {
            return Err(Error::SizeOverflow { rows, cols });
        }
        if hessian.len() != cols {
            return Err(Error::HessianLength { len: hessian.len(), cols });
        }
        pool::start()?;
        let bad = (0..rows).into_par_iter().find_map_first(|row| {
            weight.first_bad_column(row).map(|(col, value)| Error::WeightNotFinite { row, col, value })
        });
        match bad {
            Some(error) => Err(error),
            None => Ok(Layer { weight, hessian }),
        }
    }

    /// Returns the number of output features, m.
    pub fn rows(&self) -> usize {
        self.weight.dim().0
    }

    /// Returns the number of input features, k.
    pub fn cols(&self) -> usize {
        self.weight.dim().1
    }

    /// Returns the weight, m × k.
    pub fn weight(&self) -> &Weight<'a> {
        &self.weight
    }

    /// Returns the Hessian of the inputs.
    pub fn hessian(&self) -> &Hessian {
        &self.hessian
    }
}
