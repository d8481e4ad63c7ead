//! What a factorisation is written as: every format is a pure function of the factors, and knows nothing of files.

mod core;
mod cutlass;
mod factors;
mod values;

use std::fmt;
use std::str::FromStr;

use safetensors::Dtype;
use serde::{Deserialize, Serialize};

#[cfg(feature = "checkpoint")]
pub(crate) use factors::metadata;

use crate::bytes::header::{Layout, Words};
use crate::error::Error;
use crate::factors::pattern::Pattern;
use crate::factors::precision::Precision;
use crate::result::factorization::Factorization;

/// What a compressed weight `T.weight` is stored as; `docs/formats.md` describes every byte.
///
/// All but [`Format::Reconstructed`] come with the wrappers, without which the core is not the weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Format {
    /// `factors`: the layout of [`Factorization::to_safetensors`], which [`Factorization::from_safetensors`] reads.
    Factors,
    /// `dense-core`: the core with its zeros, m × k, for programs that compress it themselves.
    DenseCore,
    /// `sparse-24-bitmask`: the core under the names that compressed-tensors gives this layout; 2:4 only.
    #[serde(rename = "sparse-24-bitmask")]
    SparseBitmask,
    /// `cutlass`: the core as PyTorch's semi-structured tensors hold it for CUTLASS, in f16 or bf16; 2:4 only, rows a
    /// multiple of 32, and columns too.
    Cutlass,
    /// `reconstructed`: A S B under the weight's old name. It is dense: neither 2:4 nor faster than the weight was.
    Reconstructed,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 5] =
        [Format::Factors, Format::DenseCore, Format::SparseBitmask, Format::Cutlass, Format::Reconstructed];

    /// The format's name: `factors`, `dense-core`, `sparse-24-bitmask`, `cutlass` or `reconstructed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Factors => "factors",
            Format::DenseCore => "dense-core",
            Format::SparseBitmask => "sparse-24-bitmask",
            Format::Cutlass => "cutlass",
            Format::Reconstructed => "reconstructed",
        }
    }

    /// Checks that a core of this shape and pattern can be written, before it is computed.
    ///
    /// # Errors
    /// [`Error::Format`] with what does not fit.
    pub fn check(self, (rows, cols): (usize, usize), pattern: Pattern, precision: Precision) -> Result<(), Error> {
        let refuse = |problem| Err(Error::Format { format: self.as_str(), problem });
        let two_four = matches!(self, Format::SparseBitmask | Format::Cutlass);
        if two_four && pattern != Pattern::TWO_FOUR {
            return refuse(format!("pattern {pattern} does not fit, expected 2:4"));
        }
        if self != Format::Cutlass {
            return Ok(());
        }
        if precision == Precision::F32 {
            return refuse("dtype f32 does not fit, expected f16 or bf16".to_owned());
        }
        if !rows.is_multiple_of(cutlass::ROWS) || !cols.is_multiple_of(cutlass::COLS) {
            let (by_rows, by_cols) = (cutlass::ROWS, cutlass::COLS);
            return refuse(format!("{rows} × {cols} does not fit, expected multiples of {by_rows} and {by_cols}"));
        }
        Ok(())
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Error::by_name("format", text, &Self::ALL, Self::as_str)
    }
}

/// A tensor to be written, whose bytes are made when they are asked for.
pub(crate) struct Tensor<'a> {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    data: Box<dyn FnOnce() -> Result<Vec<u8>, Error> + Send + 'a>,
}

impl<'a> Tensor<'a> {
    fn new(
        name: String,
        dtype: Dtype,
        shape: impl Into<Vec<usize>>,
        data: impl FnOnce() -> Result<Vec<u8>, Error> + Send + 'a,
    ) -> Self {
        Tensor { name, dtype, shape: shape.into(), data: Box::new(data) }
    }

    /// Length of the data in bytes.
    pub fn len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.bitsize() / 8
    }

    /// Makes the data.
    pub fn into_bytes(self) -> Result<Vec<u8>, Error> {
        let expected = self.len();
        let bytes = (self.data)()?;
        assert_eq!(bytes.len(), expected, "{} is as long as its shape tells", self.name);
        Ok(bytes)
    }
}

/// The tensors that `factorization`, of the weight `name` (without `.weight`), is written as.
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

/// The names of those tensors, sorted.
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

impl Factorization {
    /// Writes the factorisation of the weight `name` (without `.weight`) as a safetensors file in any format.
    ///
    /// [`Format::Factors`] in [`Precision::F32`] is [`Factorization::to_safetensors`]. In f16 and bf16 the metadata
    /// still give the loss of the f32 factors.
    ///
    /// # Errors
    /// [`Error::Format`] where the format cannot hold this core, [`Error::Overflow`] for a value beyond the precision.
    ///
    /// ```
    /// # use armor_core::{Hessian, Layer, Options, factorize};
    /// use armor_core::{Format, Precision};
    /// # let weight = ndarray::Array2::from_shape_fn((64, 64), |(i, j)| ((7 * i + 3 * j) % 23) as f32 - 11.0);
    /// # let layer = Layer::new(&weight, Hessian::identity(64))?;
    /// # let result = factorize(&layer, &Options::exact().block(16).iterations(2))?;
    /// let file = result.export("layer", Format::Cutlass, Precision::F16)?;
    /// # assert!(!file.is_empty());
    /// # Ok::<(), armor_core::Error>(())
    /// ```
    pub fn export(&self, name: &str, format: Format, precision: Precision) -> Result<Vec<u8>, Error> {
        self.to_file(name, (format, precision), factors::metadata(self, ""))
    }

    /// The same with metadata of the caller's choice.
    pub(crate) fn to_file(
        &self,
        name: &str,
        (format, precision): (Format, Precision),
        metadata: Words,
    ) -> Result<Vec<u8>, Error> {
        let mut tensors = tensors(self, name, format, precision)?;
        let shapes = tensors.iter().map(|t| (t.name.as_str(), t.dtype, t.shape.as_slice(), t.len()));
        let layout = Layout::new(shapes);
        let mut file = layout.header(&metadata)?;
        file.reserve(layout.data_len());
        tensors.sort_by_key(|tensor| layout.start(&tensor.name));
        for tensor in tensors {
            file.extend(tensor.into_bytes()?);
        }
        Ok(file)
    }
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
