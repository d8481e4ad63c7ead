//! The loss of a layer as it is stored: with its factors, or their product, rounded to the dtype.

use super::settings::Settings;
use crate::descent::options::Options;
use crate::descent::run::Descent;
use crate::error::Error;
use crate::factors::precision::Precision;
use crate::input::layer::Layer;
use crate::problem::measure::Product;
use crate::result::factorization::Factorization;
use crate::result::formats::Format;

/// Relative proxy loss of what is stored, measured against the layer in f64.
pub(super) fn measure(
    layer: &Layer<'_>,
    stored: &Factorization,
    settings: &Settings,
    options: &Options,
) -> Result<f64, Error> {
    let descent = Descent::new(options)?;
    match (settings.format, settings.dtype) {
        (Format::Reconstructed, dtype) => {
            let values = product(stored, dtype)?;
            descent.measure(layer, &Product::Dense { values: &values, rows: stored.left().partition() })
        }
        (_, Precision::F32) => Ok(stored.loss()),
        _ => descent.measure(layer, &Product::Factors(stored.factors())),
    }
}

/// A · S · B, rounded.
///
/// # Errors
/// [`Error::Overflow`] with the first value beyond the range.
pub(super) fn product(stored: &Factorization, dtype: Precision) -> Result<Vec<f32>, Error> {
    let mut values = stored.reconstruct().into_raw_vec_and_offset().0;
    dtype.round("weight", &mut values)?;
    Ok(values)
}
