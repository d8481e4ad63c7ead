//! The tensors of each format, and their names.

use crate::error::Error;
use crate::factors::precision::FactorPrecision;
use crate::result::factorization::Factorization;
use crate::result::formats::format::Format;
use crate::result::formats::tensor::Tensor;
use crate::result::formats::{core, cutlass, factors};

/// Lists the tensors that hold `factorization` in `format`; `name` is the weight's name without `.weight`.
///
/// # Errors
/// [`Error::Format`] where the format cannot hold this core or these number types; [`Error::Overflow`] for a number of a
/// factor that is beyond the range of its type. The product for [`Format::Reconstructed`] is computed and checked only
/// when its bytes are made.
pub(crate) fn tensors<'a>(
    factorization: &'a Factorization,
    name: &str,
    format: Format,
    precision: FactorPrecision,
) -> Result<Vec<Tensor<'a>>, Error> {
    let (core, pattern) = (factorization.core(), factorization.core().pattern());
    format.check((core.rows(), core.cols()), pattern, precision)?;
    if format == Format::Reconstructed {
        return Ok(vec![core::reconstructed(factorization, name, precision.core)]);
    }
    factorization.factors().check_range(precision)?;
    let mut tensors = factors::wrappers(factorization, name, precision);
    match format {
        Format::Factors => tensors.extend(factors::core(core, name, precision.core)),
        Format::DenseCore => tensors.push(core::dense(core, name, precision.core)),
        Format::SparseBitmask => tensors.extend(core::sparse_bitmask(core, name, precision.core)),
        Format::Cutlass => tensors.extend(cutlass::tensors(core, name, precision.core)),
        Format::Reconstructed => {}
    }
    tensors.push(factors::history(factorization, name));
    Ok(tensors)
}
