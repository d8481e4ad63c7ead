//! A layer as it is stored: its factors, or their product, rounded to the dtype, with the loss of what is stored.

use ndarray::Array2;

use crate::bytes::header::Words;
use crate::descent::options::Options;
use crate::descent::run::Descent;
use crate::error::Error;
use crate::factors::precision::{FactorPrecision, Precision};
use crate::factors::range::round_weight;
use crate::input::layer::Layer;
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
    pub fn new(result: Factorization, format: Format, dtype: FactorPrecision) -> Result<Self, Error> {
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

    /// Lists the tensors of the weight `name`, whose factors' names start with `stem`.
    pub fn tensors(&self, name: &str, stem: &str) -> Result<Vec<Tensor<'_>>, Error> {
        let Some(values) = &self.product else { return tensors(&self.factors, stem, self.format, self.dtype) };
        let (dtype, shape) = (self.dtype.core, values.shape());
        Ok(vec![Tensor::new(name.to_owned(), dtype.dtype(), shape, move || Ok(dtype.bytes(values)))])
    }

    /// The metadata that the tensors need, with `stem` in front of every key; none for a product.
    pub fn words(&self, stem: &str, loss: f64) -> Words {
        if self.product.is_some() {
            return Words::new();
        }
        let prefix = format!("{stem}.");
        let mut words = metadata(&self.factors, &prefix);
        words.insert(format!("{prefix}armor.loss"), loss.to_string());
        words
    }
}
