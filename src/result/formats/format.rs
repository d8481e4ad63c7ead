//! The formats that a factorisation can be written in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::factors::pattern::Pattern;
use crate::factors::precision::{FactorPrecision, Precision};
use crate::result::formats::cutlass;

/// Selects how a compressed weight `T.weight` is stored; `docs/formats.md` describes every byte.
///
/// All formats but [`Format::Reconstructed`] store the wrappers too: the weight is the product A S B, not the core alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Format {
    /// `factors`: the layout of [`Factorization::to_safetensors`](crate::Factorization::to_safetensors), which
    /// [`Factorization::from_safetensors`](crate::Factorization::from_safetensors) reads.
    Factors,
    /// `dense-core`: the core with its zeros, m × k, for programs that compress it themselves.
    DenseCore,
    /// `sparse-24-bitmask`: the core under the names that compressed-tensors gives this layout; 2:4 only.
    #[serde(rename = "sparse-24-bitmask")]
    SparseBitmask,
    /// `cutlass`: the core as PyTorch's semi-structured tensors hold it for CUTLASS, in f16 or bf16; 2:4 only, the
    /// numbers of rows and of columns must be multiples of 32.
    Cutlass,
    /// `reconstructed`: the product A S B under the weight's own name. This matrix is dense, so it is neither
    /// smaller nor faster than the weight.
    Reconstructed,
}

impl Format {
    /// All formats.
    pub const ALL: [Format; 5] =
        [Format::Factors, Format::DenseCore, Format::SparseBitmask, Format::Cutlass, Format::Reconstructed];

    /// Returns the format's name: `factors`, `dense-core`, `sparse-24-bitmask`, `cutlass` or `reconstructed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Factors => "factors",
            Format::DenseCore => "dense-core",
            Format::SparseBitmask => "sparse-24-bitmask",
            Format::Cutlass => "cutlass",
            Format::Reconstructed => "reconstructed",
        }
    }

    /// Checks that the format can store factors of this shape (m, k), pattern and number types.
    ///
    /// # Errors
    /// [`Error::Format`] names the format and says what does not fit.
    pub fn check(
        self,
        (rows, cols): (usize, usize),
        pattern: Pattern,
        precision: impl Into<FactorPrecision>,
    ) -> Result<(), Error> {
        let precision = precision.into();
        let refuse = |problem| Err(Error::Format { format: self.as_str(), problem });
        let two_four = matches!(self, Format::SparseBitmask | Format::Cutlass);
        if two_four && pattern != Pattern::TWO_FOUR {
            return refuse(format!("pattern {pattern} does not fit, expected 2:4"));
        }
        if self == Format::Reconstructed && precision.uniform().is_none() {
            return refuse(format!("dtype {precision} does not fit, expected one type"));
        }
        if self != Format::Cutlass {
            return Ok(());
        }
        if precision.core == Precision::F32 {
            return refuse("a core of dtype f32 does not fit, expected f16 or bf16".to_owned());
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
