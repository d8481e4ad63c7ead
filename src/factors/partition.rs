//! The division of rows or columns into blocks.

use std::fmt;
use std::ops::Range;

/// The division of `len` positions into blocks of `block`; the last block is smaller where `block` does not divide `len`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Partition {
    /// Number of positions.
    pub len: usize,
    /// Number of positions of every block except possibly the last.
    pub block: usize,
}

impl Partition {
    /// Makes a partition; a `block` larger than `len` is reduced to `len`.
    pub(crate) fn new(len: usize, block: usize) -> Self {
        Partition { len, block: block.min(len) }
    }

    /// Returns the number of blocks.
    pub fn count(self) -> usize {
        self.len.div_ceil(self.block)
    }

    /// Returns the first position of block `index`.
    pub fn start(self, index: usize) -> usize {
        index * self.block
    }

    /// Returns the number of positions in block `index`; 0 beyond the last block.
    pub fn size(self, index: usize) -> usize {
        self.block.min(self.len.saturating_sub(self.start(index)))
    }

    /// Returns the positions of block `index`.
    ///
    /// # Panics
    /// As [`Partition::size`].
    pub fn range(self, index: usize) -> Range<usize> {
        self.start(index)..self.start(index) + self.size(index)
    }
}

impl fmt::Display for Partition {
    /// Writes `576 in blocks of 64`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in blocks of {}", self.len, self.block)
    }
}
