//! A factorisation as a safetensors file in any format.

use crate::bytes::header::{Layout, Words};
use crate::error::Error;
use crate::factors::precision::FactorPrecision;
use crate::result::factorization::Factorization;
use crate::result::formats::contents::tensors;
use crate::result::formats::factors::metadata;
use crate::result::formats::format::Format;

impl Factorization {
    /// Writes the factorisation of the weight `name` (without `.weight`) as a safetensors file in any format, all factors
    /// in one [`Precision`](crate::Precision) or each in its own ([`FactorPrecision`]).
    ///
    /// [`Format::Factors`] in f32 is [`Factorization::to_safetensors`]. In other types the metadata still give the loss of
    /// the f32 factors.
    ///
    /// # Errors
    /// [`Error::Format`] where the format cannot hold this core or these number types, [`Error::Overflow`] for a number
    /// that rounds to an infinity; nothing is written then.
    ///
    /// ```
    /// # use armor_core::{Hessian, Layer, Options, factorize};
    /// use armor_core::{FactorPrecision, Format, Precision};
    /// # let weight = ndarray::Array2::from_shape_fn((64, 64), |(i, j)| ((7 * i + 3 * j) % 23) as f32 - 11.0);
    /// # let layer = Layer::new(&weight, Hessian::identity(64))?;
    /// # let result = factorize(&layer, &Options::exact().block(16).iterations(2))?;
    /// let file = result.export("layer", Format::Cutlass, Precision::F16)?;
    /// let mixed = FactorPrecision { core: Precision::Bf16, ..Precision::F32.into() };
    /// let precise_wrappers = result.export("layer", Format::Factors, mixed)?;
    /// # assert!(!file.is_empty() && !precise_wrappers.is_empty());
    /// # Ok::<(), armor_core::Error>(())
    /// ```
    pub fn export(&self, name: &str, format: Format, precision: impl Into<FactorPrecision>) -> Result<Vec<u8>, Error> {
        self.to_file(name, (format, precision.into()), metadata(self, ""))
    }

    /// Writes the same file as [`Factorization::export`], but with the metadata given.
    ///
    /// # Errors
    /// As [`Factorization::export`]; [`Error::Bytes`] where the header would be longer than the format allows.
    pub(crate) fn to_file(
        &self,
        name: &str,
        (format, precision): (Format, FactorPrecision),
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
