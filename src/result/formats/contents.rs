//! The tensors of each format, and their names.

use crate::error::Error;
use crate::factors::precision::Precision;
use crate::result::factorization::Factorization;
use crate::result::formats::format::Format;
use crate::result::formats::tensor::Tensor;
use crate::result::formats::{core, cutlass, factors};

/// Lists the tensors that hold `factorization` in `format`; `name` is the weight's name without `.weight`.
///
/// # Errors
/// [`Error::Format`] where the format cannot hold this core.
pub(crate) fn tensors<'a>(
    factorization: &'a Factorization,
    name: &str,
    format: Format,
    precision: Precision,
) -> Result<Vec<Tensor<'a>>, Error> {
    let (core, pattern) = (factorization.core(), factorization.core().pattern());
    format.check((core.rows(), core.cols()), pattern, precision)?;
    if format == Format::Reconstructed {
        return Ok(vec![core::reconstructed(factorization, name, precision)]);
    }
    let mut tensors = factors::wrappers(factorization, name, precision);
    match format {
        Format::Factors => tensors.extend(factors::core(core, name, precision)),
        Format::DenseCore => tensors.push(core::dense(core, name, precision)),
        Format::SparseBitmask => tensors.extend(core::sparse_bitmask(core, name, precision)),
        Format::Cutlass => tensors.extend(cutlass::tensors(core, name, precision)),
        Format::Reconstructed => {}
    }
    tensors.push(factors::history(factorization, name));
    Ok(tensors)
}

/// Lists the names of the tensors that [`tensors`] gives, sorted.
#[cfg(feature = "checkpoint")]
pub(crate) fn names(name: &str, format: Format) -> Vec<String> {
    let parts: &[&str] = match format {
        Format::Factors => &["armor.core.bitmask", "armor.core.compressed", "armor.core.shape"],
        Format::DenseCore => &["armor.core.dense"],
        Format::SparseBitmask => &["bitmask", "compressed", "shape"],
        Format::Cutlass => &["armor.core.meta", "armor.core.packed"],
        Format::Reconstructed => return vec![format!("{name}.weight")],
    };
    let mut parts = [parts, &["armor.history", "armor.left", "armor.right"]].concat();
    parts.sort_unstable();
    parts.into_iter().map(|part| format!("{name}.{part}")).collect()
}

#[cfg(all(test, feature = "checkpoint"))]
mod tests {
    use super::*;
    use crate::descent::options::Options;
    use crate::descent::run::factorize;
    use crate::input::hessian::Hessian;
    use crate::input::layer::Layer;

    #[test]
    fn names_are_those_of_the_tensors() -> Result<(), Error> {
        let weight = ndarray::Array2::from_shape_fn((32, 32), |(i, j)| ((7 * i + 3 * j) % 23) as f32 - 11.0);
        let layer = Layer::new(&weight, Hessian::identity(32))?;
        let result = factorize(&layer, &Options::exact().block(16).iterations(1))?;
        for format in Format::ALL {
            let tensors = tensors(&result, "a.b", format, Precision::F16)?;
            let mut found: Vec<String> = tensors.into_iter().map(|tensor| tensor.name).collect();
            found.sort_unstable();
            assert_eq!(found, names("a.b", format));
        }
        Ok(())
    }
}
