//! Values as bytes of a file, in the type that they are stored in.

use half::{bf16, f16};
use safetensors::Dtype;

use crate::error::Error;
use crate::factors::precision::Precision;

impl Precision {
    pub(crate) fn dtype(self) -> Dtype {
        match self {
            Precision::F32 => Dtype::F32,
            Precision::F16 => Dtype::F16,
            Precision::Bf16 => Dtype::BF16,
        }
    }

    /// Little-endian bytes of the values, rounded.
    ///
    /// # Errors
    /// [`Error::Overflow`] with the first value beyond the range.
    pub(crate) fn bytes<'a>(
        self,
        part: &'static str,
        values: impl IntoIterator<Item = &'a f32>,
    ) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        for (index, &value) in values.into_iter().enumerate() {
            if !self.nearest(value).is_finite() {
                return Err(Error::Overflow { part, index, value, dtype: self.as_str() });
            }
            match self {
                Precision::F32 => bytes.extend(value.to_le_bytes()),
                Precision::F16 => bytes.extend(f16::from_f32(value).to_le_bytes()),
                Precision::Bf16 => bytes.extend(bf16::from_f32(value).to_le_bytes()),
            }
        }
        Ok(bytes)
    }
}
