//! A layer as it is stored: its factors, or their product, rounded to the dtype, with the loss of what is stored.

use ndarray::{Array2, CowArray, Ix2};

use super::selected_tensor::SelectedTensor;
use crate::bytes::header::Words;
use crate::descent::options::Options;
use crate::descent::run::Descent;
use crate::error::Error;
use crate::factors::precision::{FactorPrecision, Precision};
use crate::factors::range::round_weight;
use crate::input::layer::Layer;
use crate::problem::measure::{Replacement, output_error};
use crate::result::factorization::Factorization;
use crate::result::formats::contents::tensors;
use crate::result::formats::factors::metadata;
use crate::result::formats::format::Format;
use crate::result::formats::tensor::Tensor;

/// The values of a layer, rounded to the number types that they are stored in.
pub(super) struct StoredLayer {
    /// The factors; rounded unless their product is stored instead.
    pub factors: Factorization,
    /// A · S · B, where it is stored instead of the factors.
    product: Option<Array2<f32>>,
    format: Format,
    dtype: FactorPrecision,
}

impl StoredLayer {
    /// Rounds what `format` stores of a result.
    ///
    /// # Errors
    /// [`Error::Overflow`] with the first value beyond the range.
    pub fn new(result: Factorization, layer: &SelectedTensor, format: Format) -> Result<Self, Error> {
        let dtype = layer.dtype;
        let (factors, product) = match format {
            Format::Reconstructed => {
                let mut values = result.reconstruct();
                round_weight(&mut values, dtype.core)?;
                (result, Some(values))
            }
            _ => (result.rounded(dtype)?, None),
        };
        Ok(StoredLayer { factors, product, format, dtype })
    }

    /// Measures the relative proxy loss of the stored values against the layer in f64.
    pub fn loss(&self, layer: &Layer<'_>, options: &Options) -> Result<f64, Error> {
        let descent = Descent::new(options)?;
        match &self.product {
            Some(values) => descent.loss_of_dense(layer, values.view()),
            None if self.dtype.uniform() == Some(Precision::F32) => Ok(self.factors.loss()),
            None => descent.loss_of(layer, &self.factors),
        }
    }

    /// Measures the relative output error of the stored values under the layer's own Hessian, in f64.
    pub fn output_error(&self, layer: &Layer<'_>) -> f64 {
        let factors = self.factors.factors();
        let replacement = match &self.product {
            Some(values) => Replacement::Dense { values: values.view(), rows: factors.left.partition() },
            None => Replacement::Factors(factors),
        };
        output_error(&replacement, layer)
    }

    /// Returns A · S · B as it is stored, m × k.
    pub fn dense(&self) -> CowArray<'_, f32, Ix2> {
        match &self.product {
            Some(values) => values.into(),
            None => self.factors.reconstruct().into(),
        }
    }

    /// Lists the tensors of the layer: its factors, or the product in the orientation of the weight.
    pub fn tensors(&self, layer: &SelectedTensor) -> Result<Vec<Tensor<'_>>, Error> {
        let Some(values) = &self.product else { return tensors(&self.factors, layer.stem(), self.format, self.dtype) };
        let values = if layer.transposed { values.t() } else { values.view() };
        let (dtype, shape) = (self.dtype.core, values.shape().to_vec());
        Ok(vec![Tensor::new(layer.tensor.clone(), dtype.dtype(), shape, move || Ok(dtype.bytes(values.iter())))])
    }

    /// The metadata that the tensors need, with the layer's name in front of every key; none for a product.
    pub fn words(&self, layer: &SelectedTensor, loss: f64) -> Words {
        if self.product.is_some() {
            return Words::new();
        }
        let prefix = format!("{}.", layer.stem());
        let mut words = metadata(&self.factors, &prefix);
        words.insert(format!("{prefix}armor.loss"), loss.to_string());
        if layer.transposed {
            words.insert(format!("{prefix}armor.transposed"), "true".to_owned());
        }
        words
    }
}
