//! The packed form of a wrapper.

use ndarray::ArrayView2;

use crate::factors::block_diagonal::BlockDiagonal;
use crate::factors::partition::Partition;
use crate::factors::precision::Precision;
use crate::kernels::cache_line::CacheLine;
use crate::packed::large_pages::PackedLines;
use crate::packed::strip::{PANELS, PackedStrip, ROWS, STRIP_ROWS};

/// A block-diagonal matrix in strips, each of them within one block.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PackedWrapper {
    partition: Partition,
    precision: Precision,
    lines: PackedLines,
}

impl PackedWrapper {
    /// Packs a wrapper.
    pub fn new(wrapper: &BlockDiagonal, precision: Precision, threads: usize) -> Self {
        let partition = wrapper.partition();
        let whole = lines_of_block(partition.block, precision);
        let last = partition.size(partition.count() - 1);
        let mut lines = PackedLines::zeroed((partition.count() - 1) * whole + lines_of_block(last, precision));
        lines.write_parts(whole, threads, |(index, block)| {
            block.copy_from_slice(&pack_block(wrapper.block(index), precision));
        });
        PackedWrapper { partition, precision, lines }
    }

    /// Gives the wrapper back, its numbers as they were rounded.
    pub fn unpack(&self) -> BlockDiagonal {
        let mut wrapper = BlockDiagonal::identity(self.partition.len, self.partition.block);
        for strip in (0..self.strips()).map(|index| self.strip(index)) {
            let (first, size) = strip.cols;
            let mut block = wrapper.block_mut(first / self.partition.block);
            for (row, j) in (0..strip.rows).flat_map(|row| (0..size).map(move |j| (row, j))) {
                let at = (j / 2 * strip.panels() + row / ROWS) * self.precision.lines();
                block[[strip.start - first + row, j]] = self.precision.read(&strip.lines[at..], row % ROWS)[j % 2];
            }
        }
        wrapper
    }

    /// Gives the blocks.
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// Gives the number type.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Counts the strips.
    pub fn strips(&self) -> usize {
        let Partition { len, block } = self.partition;
        len / block * block.div_ceil(STRIP_ROWS) + (len % block).div_ceil(STRIP_ROWS)
    }

    /// Gives strip `index`.
    pub fn strip(&self, index: usize) -> PackedStrip<'_> {
        let partition = self.partition;
        let whole = partition.block;
        let (block, strip) = (index / whole.div_ceil(STRIP_ROWS), index % whole.div_ceil(STRIP_ROWS));
        let (first, size) = (partition.start(block), partition.size(block));
        let panel = size.div_ceil(2) * self.precision.lines();
        let rows = STRIP_ROWS.min(size - strip * STRIP_ROWS);
        let start = block * lines_of_block(whole, self.precision);
        let lines = &self.lines.as_slice()[start + strip * PANELS * panel..][..rows.div_ceil(ROWS) * panel];
        PackedStrip { lines, start: first + strip * STRIP_ROWS, rows, cols: (first, size) }
    }

    /// Counts the bytes.
    pub fn bytes(&self) -> usize {
        self.lines.bytes()
    }
}

/// Counts the lines of a square block.
fn lines_of_block(size: usize, precision: Precision) -> usize {
    size.div_ceil(ROWS) * size.div_ceil(2) * precision.lines()
}

/// Packs a block, strip by strip.
///
/// A strip is a run of column pairs, each of which holds two numbers a row for every panel. The last pair of an odd
/// number of columns has a second number of zero.
fn pack_block(block: ArrayView2<'_, f32>, precision: Precision) -> Vec<CacheLine> {
    let size = block.nrows();
    let entry = |i: usize, j: usize| if i < size && j < size { block[[i, j]] } else { 0.0 };
    let mut lines = Vec::with_capacity(lines_of_block(size, precision));
    for start in (0..size).step_by(STRIP_ROWS) {
        let panels = STRIP_ROWS.min(size - start).div_ceil(ROWS);
        for (j, panel) in (0..size).step_by(2).flat_map(|j| (0..panels).map(move |panel| (j, panel))) {
            let row = start + panel * ROWS;
            let pairs = std::array::from_fn(|lane| [entry(row + lane, j), entry(row + lane, j + 1)]);
            precision.push(&mut lines, &pairs);
        }
    }
    lines
}
