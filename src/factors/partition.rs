//! Rows or columns cut into blocks.

use std::fmt;
use std::ops::Range;

/// A cut of `len` positions into blocks of `block`; the last block is smaller where they do not divide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Partition {
    /// Positions in all.
    pub len: usize,
    /// Positions of every block but possibly the last.
    pub block: usize,
}

impl Partition {
    /// Cuts `len` positions; a block larger than the whole becomes the whole.
    pub(crate) fn new(len: usize, block: usize) -> Self {
        Partition { len, block: block.min(len) }
    }

    /// Number of blocks.
    pub fn count(self) -> usize {
        self.len.div_ceil(self.block)
    }

    /// First position of block `index`.
    pub fn start(self, index: usize) -> usize {
        index * self.block
    }

    /// Positions of block `index`, which must be one of them.
    pub fn size(self, index: usize) -> usize {
        self.block.min(self.len - self.start(index))
    }

    /// First position of block `index` and the one after its last.
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
