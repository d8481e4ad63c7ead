//! Numbers as the bytes of a file.

use half::{bf16, f16};
use safetensors::Dtype;

use crate::factors::precision::Precision;

impl Precision {
    /// Gives the name that safetensors has for the type.
    pub(crate) fn dtype(self) -> Dtype {
        match self {
            Precision::F32 => Dtype::F32,
            Precision::F16 => Dtype::F16,
            Precision::Bf16 => Dtype::BF16,
        }
    }

    /// Gives the little-endian bytes of the values, each rounded to the nearest number of the type.
    pub(crate) fn bytes<'a>(self, values: impl IntoIterator<Item = &'a f32>) -> Vec<u8> {
        let values = values.into_iter();
        match self {
            Precision::F32 => values.flat_map(|value| value.to_le_bytes()).collect(),
            Precision::F16 => values.flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect(),
            Precision::Bf16 => values.flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect(),
        }
    }
}
