//! Matrices in the order in which the kernels read them: one stream of cache lines for every strip of rows.

use ndarray::ArrayView2;
use rayon::prelude::*;

use super::memory::Lines;
use crate::error::Error;
use crate::factors::block_diagonal::BlockDiagonal;
use crate::factors::groups::columns;
use crate::factors::partition::Partition;
use crate::factors::precision::Precision;
use crate::factors::sparse_core::SparseCore;
use crate::kernels::cache_line::CacheLine;

/// Rows of a panel, one for each number of a cache line.
pub(super) const ROWS: usize = CacheLine::LEN;

/// Panels of a strip; its last one may have fewer, and the last panel fewer rows than [`ROWS`].
pub(super) const PANELS: usize = 4;

/// Rows of a strip.
pub(super) const STRIP: usize = PANELS * ROWS;

/// Groups of 2:4 whose codes share a word: ten codes of three bits.
pub(super) const GROUPS: usize = 10;

/// The code of a group's mask: its lowest two bits give the column of the first value, and [`SECOND`] at the code that
/// of the second, one or two columns on, modulo four. So three bits tell all six masks apart.
pub(super) const CODES: [(u8, u32); 6] = [(0b0011, 0), (0b0110, 1), (0b1100, 2), (0b1001, 3), (0b0101, 4), (0b1010, 5)];

/// Column of the second value by code; twice, for tables of sixteen words.
pub(super) const SECOND: CacheLine = CacheLine([1, 2, 3, 0, 2, 3, 0, 1, 1, 2, 3, 0, 2, 3, 0, 1]);

/// Where a strip stands: its rows and its panels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strip<'a> {
    pub lines: &'a [CacheLine],
    /// First row.
    pub start: usize,
    /// Rows, at most [`STRIP`].
    pub rows: usize,
    /// First column that it multiplies, and how many.
    pub cols: (usize, usize),
}

impl Strip<'_> {
    pub fn panels(&self) -> usize {
        self.rows.div_ceil(ROWS)
    }
}

/// A 2:4 matrix in strips.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PackedCore {
    rows: usize,
    cols: usize,
    precision: Precision,
    lines: Lines,
}

impl PackedCore {
    /// Packs a core whose pattern is 2:4.
    pub fn new(core: &SparseCore, precision: Precision, threads: usize) -> Result<Self, Error> {
        let (rows, cols, groups) = (core.rows(), core.cols(), core.groups());
        let panel = panel_of_groups(groups, precision);
        let mut lines = Lines::zeroed(rows.div_ceil(ROWS) * panel);
        let pack = |(index, strip): (usize, &mut [CacheLine])| pack_groups(core, index * STRIP, precision, strip);
        for_each_part(lines.as_mut_slice(), PANELS * panel, threads, pack)?;
        Ok(PackedCore { rows, cols, precision, lines })
    }

    pub fn strips(&self) -> usize {
        self.rows.div_ceil(STRIP)
    }

    pub fn strip(&self, index: usize) -> Strip<'_> {
        let (start, panel) = (index * STRIP, panel_of_groups(self.cols / 4, self.precision));
        let rows = STRIP.min(self.rows - start);
        let lines = &self.lines.as_slice()[start / ROWS * panel..][..rows.div_ceil(ROWS) * panel];
        Strip { lines, start, rows, cols: (0, self.cols) }
    }

    pub fn bytes(&self) -> usize {
        size_of_val(self.lines.as_slice())
    }
}

/// Packs the rows of one strip.
fn pack_groups(core: &SparseCore, start: usize, precision: Precision, out: &mut [CacheLine]) -> Result<(), Error> {
    let (rows, groups) = (core.rows(), core.groups());
    let panels = STRIP.min(rows - start).div_ceil(ROWS);
    let mut lines = Vec::with_capacity(out.len());
    for first in (0..groups).step_by(GROUPS) {
        let chunk = first..groups.min(first + GROUPS);
        for panel in 0..panels {
            lines.push(CacheLine(std::array::from_fn(|lane| {
                let row = start + panel * ROWS + lane;
                let code = |group| if row < rows { code(core.group(row, group).0).0 } else { 0 };
                chunk.clone().rev().fold(0, |codes, group| codes << 3 | code(group))
            })));
        }
        for (group, panel) in chunk.flat_map(|group| (0..panels).map(move |panel| (group, panel))) {
            let mut pairs = [[0.0; 2]; ROWS];
            let first = start + panel * ROWS;
            for (pair, row) in pairs.iter_mut().zip(first..rows) {
                *pair = ordered(core, row, group, precision)?;
            }
            precision.push(&mut lines, &pairs);
        }
    }
    out.copy_from_slice(&lines);
    Ok(())
}

/// Lines of a panel of a 2:4 matrix.
fn panel_of_groups(groups: usize, precision: Precision) -> usize {
    groups.div_ceil(GROUPS) + groups * precision.lines()
}

/// The code of a mask, and whether its values change places.
fn code(mask: u8) -> (u32, bool) {
    let (_, code) = CODES.into_iter().find(|&(known, _)| known == mask).expect("a mask of 2:4 keeps two of four");
    (code, SECOND.0[code as usize] < (code & 3))
}

/// Makes each of equal parts, on the current pool unless one thread is enough.
fn for_each_part(
    lines: &mut [CacheLine],
    part: usize,
    threads: usize,
    make: impl Fn((usize, &mut [CacheLine])) -> Result<(), Error> + Send + Sync,
) -> Result<(), Error> {
    if threads == 1 {
        lines.chunks_mut(part).enumerate().try_for_each(make)
    } else {
        lines.par_chunks_mut(part).enumerate().try_for_each(make)
    }
}

/// The values of a group in the order of its code.
fn ordered(core: &SparseCore, row: usize, group: usize, precision: Precision) -> Result<[f32; 2], Error> {
    let (mask, values) = core.group(row, group);
    for (column, &value) in columns(mask).zip(values) {
        fits("core", (row, 4 * group + column), value, precision)?;
    }
    Ok(if code(mask).1 { [values[1], values[0]] } else { [values[0], values[1]] })
}

/// Refuses a number that a type cannot hold.
pub(super) fn fits(
    argument: &'static str,
    (row, col): (usize, usize),
    value: f32,
    precision: Precision,
) -> Result<(), Error> {
    if precision.nearest(value).is_finite() {
        Ok(())
    } else {
        Err(Error::Precision { argument, row, col, value, precision: precision.as_str() })
    }
}

/// A block-diagonal matrix in strips, none of which reaches over two blocks.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PackedBlocks {
    partition: Partition,
    precision: Precision,
    lines: Lines,
}

impl PackedBlocks {
    /// Packs a wrapper, which errors call `argument`.
    pub fn new(
        argument: &'static str,
        wrapper: &BlockDiagonal,
        precision: Precision,
        threads: usize,
    ) -> Result<Self, Error> {
        let partition = wrapper.partition();
        let whole = lines_of_block(partition.block, precision);
        let last = partition.size(partition.count() - 1);
        let mut lines = Lines::zeroed((partition.count() - 1) * whole + lines_of_block(last, precision));
        for_each_part(lines.as_mut_slice(), whole, threads, |(index, out)| {
            let first = partition.start(index);
            for ((i, j), &value) in wrapper.block(index).indexed_iter() {
                fits(argument, (first + i, first + j), value, precision)?;
            }
            out.copy_from_slice(&pack_block(wrapper.block(index), precision));
            Ok::<(), Error>(())
        })?;
        Ok(PackedBlocks { partition, precision, lines })
    }

    pub fn precision(&self) -> Precision {
        self.precision
    }

    pub fn strips(&self) -> usize {
        let Partition { len, block } = self.partition;
        len / block * block.div_ceil(STRIP) + (len % block).div_ceil(STRIP)
    }

    pub fn strip(&self, index: usize) -> Strip<'_> {
        let partition = self.partition;
        let whole = partition.block;
        let (block, strip) = (index / whole.div_ceil(STRIP), index % whole.div_ceil(STRIP));
        let (first, size) = (partition.start(block), partition.size(block));
        let panel = size.div_ceil(2) * self.precision.lines();
        let rows = STRIP.min(size - strip * STRIP);
        let start = block * lines_of_block(whole, self.precision);
        let lines = &self.lines.as_slice()[start + strip * PANELS * panel..][..rows.div_ceil(ROWS) * panel];
        Strip { lines, start: first + strip * STRIP, rows, cols: (first, size) }
    }

    pub fn bytes(&self) -> usize {
        size_of_val(self.lines.as_slice())
    }
}

/// Lines of a square block.
fn lines_of_block(size: usize, precision: Precision) -> usize {
    size.div_ceil(ROWS) * size.div_ceil(2) * precision.lines()
}

/// Packs a block, strip by strip.
fn pack_block(block: ArrayView2<'_, f32>, precision: Precision) -> Vec<CacheLine> {
    let size = block.nrows();
    let entry = |i: usize, j: usize| if i < size && j < size { block[[i, j]] } else { 0.0 };
    let mut lines = Vec::with_capacity(lines_of_block(size, precision));
    for start in (0..size).step_by(STRIP) {
        let panels = STRIP.min(size - start).div_ceil(ROWS);
        for (j, panel) in (0..size).step_by(2).flat_map(|j| (0..panels).map(move |panel| (j, panel))) {
            let row = start + panel * ROWS;
            let pairs = std::array::from_fn(|lane| [entry(row + lane, j), entry(row + lane, j + 1)]);
            precision.push(&mut lines, &pairs);
        }
    }
    lines
}
