//! The sparsity pattern N:M.

use std::fmt;
use std::str::FromStr;

#[cfg(feature = "serde")]
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Error;

/// At most `n` non-zeros in each `m` consecutive columns of a row, with 0 < n < m ≤ 8.
///
/// ```
/// use armor_core::Pattern;
/// assert_eq!("4:8".parse::<Pattern>()?, Pattern::new(4, 8)?);
/// assert_eq!(Pattern::TWO_FOUR.to_string(), "2:4");
/// # Ok::<(), armor_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    n: u8,
    m: u8,
}

impl Pattern {
    /// The pattern that sparse tensor cores support: two of four.
    pub const TWO_FOUR: Pattern = Pattern { n: 2, m: 4 };

    /// Largest group: a group's mask is one byte.
    pub(crate) const MAX_M: usize = 8;

    /// Makes the pattern that keeps `n` of `m` entries.
    ///
    /// # Errors
    /// [`Error::Pattern`] unless 0 < n < m ≤ 8.
    pub fn new(n: usize, m: usize) -> Result<Self, Error> {
        if 0 < n && n < m && m <= Self::MAX_M {
            Ok(Pattern { n: n as u8, m: m as u8 })
        } else {
            Err(Error::Pattern { n, m })
        }
    }

    /// Returns N, the number of entries kept in each group.
    pub fn n(self) -> usize {
        self.n.into()
    }

    /// Returns M, the number of entries of a group.
    pub fn m(self) -> usize {
        self.m.into()
    }

    /// Computes the number of kept entries in `cols` columns, which must be a multiple of M.
    pub(crate) fn kept(self, cols: usize) -> usize {
        cols / self.m() * self.n()
    }

    /// Tells whether `mask` has exactly N bits set, all among the lowest M.
    pub(crate) fn admits(self, mask: u8) -> bool {
        mask.count_ones() == u32::from(self.n) && u32::from(mask) < 1 << self.m
    }
}

impl Default for Pattern {
    fn default() -> Self {
        Self::TWO_FOUR
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.n, self.m)
    }
}

impl FromStr for Pattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || Error::PatternText { text: text.to_owned() };
        let (n, m) = text.split_once(':').ok_or_else(bad)?;
        // Digits alone: the standard library also takes a plus sign.
        let number = |text: &str| text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
        Pattern::new(number(n).ok_or_else(bad)?, number(m).ok_or_else(bad)?)
    }
}

#[cfg(feature = "serde")]
impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
