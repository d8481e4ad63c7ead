//! Rows or columns cut into blocks.

use std::ops::Range;

/// Cuts `len` positions into blocks of `block`, the last one smaller where they do not divide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    pub len: usize,
    pub block: usize,
}

impl Partition {
    /// A block larger than the whole becomes the whole.
    pub fn new(len: usize, block: usize) -> Self {
        Partition { len, block: block.min(len) }
    }

    pub fn count(self) -> usize {
        self.len.div_ceil(self.block)
    }

    pub fn start(self, index: usize) -> usize {
        index * self.block
    }

    pub fn size(self, index: usize) -> usize {
        self.block.min(self.len - self.start(index))
    }

    pub fn range(self, index: usize) -> Range<usize> {
        self.start(index)..self.start(index) + self.size(index)
    }
}
