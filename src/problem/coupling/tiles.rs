//! Consecutive blocks that are worked on together: tiles of columns, bands of rows.

use std::ops::Range;

use crate::factors::partition::Partition;

/// A partition's blocks in runs of the same number of blocks; the last run may have fewer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockRuns {
    /// The blocks.
    pub blocks: Partition,
    /// The runs, as larger blocks.
    runs: Partition,
}

impl BlockRuns {
    /// Puts so many blocks into each run, one at least.
    pub fn new(blocks: Partition, count: usize) -> Self {
        BlockRuns { blocks, runs: Partition::new(blocks.len, count.max(1) * blocks.block) }
    }

    /// Columns or rows of every run but the last.
    pub fn size(self) -> usize {
        self.runs.block
    }

    /// The columns or rows of a run.
    pub fn range(self, run: usize) -> Range<usize> {
        self.runs.range(run)
    }

    /// The columns or rows of every run, in order.
    pub fn iter(self) -> impl Iterator<Item = Range<usize>> {
        (0..self.runs.count()).map(move |run| self.range(run))
    }

    /// The blocks of a run, given its columns or rows.
    pub fn blocks_of(self, range: &Range<usize>) -> Range<usize> {
        range.start / self.blocks.block..range.end.div_ceil(self.blocks.block)
    }
}
