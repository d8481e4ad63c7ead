//! The number types that factors are stored in.

use std::fmt;
use std::str::FromStr;

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The number type that values and wrappers are stored in, each rounded to the nearest number of the type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(Deserialize, Serialize), serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Precision {
    /// `f32`, IEEE single precision, in which the factors are computed.
    F32,
    /// `f16`, IEEE half precision: 11 significant bits, up to 65,504.
    F16,
    /// `bf16`, bfloat16: 8 significant bits, the range of f32.
    Bf16,
}

impl Precision {
    /// All types.
    pub const ALL: [Precision; 3] = [Precision::F32, Precision::F16, Precision::Bf16];

    /// Returns the type's name: `f32`, `f16` or `bf16`.
    pub fn as_str(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
            Precision::Bf16 => "bf16",
        }
    }

    /// Returns the number of bytes of a number.
    pub fn width(self) -> usize {
        match self {
            Precision::F32 => 4,
            Precision::F16 | Precision::Bf16 => 2,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Precision {
    type Err = Error;

    /// Parses a type's name.
    ///
    /// # Errors
    /// [`Error::UnknownName`] for any other text.
    fn from_str(text: &str) -> Result<Self, Error> {
        Error::by_name("dtype", text, &Self::ALL, Self::as_str)
    }
}

/// The number type of each factor.
///
/// ```
/// use armor_core::{FactorPrecision, Precision};
/// let mixed = FactorPrecision { left: Precision::F32, ..Precision::Bf16.into() };
/// assert_eq!(mixed.core, Precision::Bf16);
/// assert_eq!(mixed.uniform(), None);
/// assert_eq!(mixed.to_string(), "f32, bf16, bf16");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(Deserialize, Serialize), serde(from = "OneOrEach", into = "OneOrEach"))]
pub struct FactorPrecision {
    /// The type of the left wrapper A.
    pub left: Precision,
    /// The type of the core's kept values.
    pub core: Precision,
    /// The type of the right wrapper B.
    pub right: Precision,
}

impl FactorPrecision {
    /// Returns the type of all three factors where they share one.
    pub fn uniform(self) -> Option<Precision> {
        (self.left == self.core && self.core == self.right).then_some(self.core)
    }
}

impl From<Precision> for FactorPrecision {
    fn from(all: Precision) -> Self {
        FactorPrecision { left: all, core: all, right: all }
    }
}

impl fmt::Display for FactorPrecision {
    /// Writes one name, or those of A, S and B.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.uniform() {
            Some(all) => all.fmt(f),
            None => write!(f, "{}, {}, {}", self.left, self.core, self.right),
        }
    }
}

/// The serialised form of a [`FactorPrecision`]: one name, or an object with a name for each factor.
#[cfg(feature = "serde")]
#[derive(Deserialize, Serialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "expected \"f32\", \"f16\" or \"bf16\", or an object with left, core and right"
)]
enum OneOrEach {
    One(Precision),
    Each { left: Precision, core: Precision, right: Precision },
}

#[cfg(feature = "serde")]
impl From<OneOrEach> for FactorPrecision {
    fn from(written: OneOrEach) -> Self {
        match written {
            OneOrEach::One(all) => all.into(),
            OneOrEach::Each { left, core, right } => FactorPrecision { left, core, right },
        }
    }
}

#[cfg(feature = "serde")]
impl From<FactorPrecision> for OneOrEach {
    fn from(precision: FactorPrecision) -> Self {
        let FactorPrecision { left, core, right } = precision;
        precision.uniform().map_or(OneOrEach::Each { left, core, right }, OneOrEach::One)
    }
}
