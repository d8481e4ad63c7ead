//! The loss of a layer as it is stored: with its factors, or their product, rounded to the dtype.

use ndarray::Array2;

use super::settings::JobSettings;
use crate::descent::options::Options;
use crate::descent::run::Descent;
use crate::error::Error;
use crate::factors::precision::{FactorPrecision, Precision};
use crate::input::layer::Layer;
use crate::result::factorization::Factorization;
use crate::result::formats::format::Format;

/// Relative proxy loss of what is stored, measured against the layer in f64.
pub(super) fn measure(
    layer: &Layer<'_>,
    stored: &Factorization,
    settings: &JobSettings,
    options: &Options,
) -> Result<f64, Error> {
    let descent = Descent::new(options)?;
    match (settings.format, settings.dtype) {
        (Format::Reconstructed, dtype) => {
            let values = product(stored, dtype)?;
            descent.loss_of_dense(layer, values.view())
        }
        (_, dtype) if dtype.uniform() == Some(Precision::F32) => Ok(stored.loss()),
        _ => descent.loss_of(layer, stored),
    }
}

/// Computes A · S · B and rounds it.
///
/// # Errors
/// [`Error::Overflow`] with the first value beyond the range.
pub(super) fn product(stored: &Factorization, dtype: FactorPrecision) -> Result<Array2<f32>, Error> {
    let mut values = stored.reconstruct();
    dtype.core.round("weight", values.as_slice_mut().expect("a reconstruction is row-major"))?;
    Ok(values)
}
