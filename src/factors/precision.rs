//! The number type that results are stored in.

use std::fmt;

use half::{bf16, f16};

/// The number type that values and wrappers are stored in, each rounded to the nearest number of the type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// `f32`, IEEE single precision: what the factors are computed in.
    F32,
    /// `f16`, IEEE half precision: 11 significant bits, up to 65,504.
    F16,
    /// `bf16`, bfloat16: 8 significant bits, the range of f32.
    Bf16,
}

impl Precision {
    /// Every type.
    pub const ALL: [Precision; 3] = [Precision::F32, Precision::F16, Precision::Bf16];

    /// The type's name: `f32`, `f16` or `bf16`.
    pub fn as_str(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
            Precision::Bf16 => "bf16",
        }
    }

    /// Bytes of a number.
    pub fn width(self) -> usize {
        match self {
            Precision::F32 => 4,
            Precision::F16 | Precision::Bf16 => 2,
        }
    }

    /// Rounds to the nearest number of this type; an infinity where there is none.
    pub(crate) fn nearest(self, value: f32) -> f32 {
        match self {
            Precision::F32 => value,
            Precision::F16 => f16::from_f32(value).to_f32(),
            Precision::Bf16 => bf16::from_f32(value).to_f32(),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
