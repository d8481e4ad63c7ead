//! The packed form of a 2:4 core.

use crate::factors::partition::Partition;
use crate::factors::pattern::Pattern;
use crate::factors::precision::Precision;
use crate::factors::sparse_core::SparseCore;
use crate::kernels::cache_line::CacheLine;
use crate::packed::large_pages::PackedLines;
use crate::packed::strip::{PANELS, PackedStrip, ROWS, STRIP_ROWS};
use crate::packed::two_four_codes::{GROUPS_PER_WORD, code, first_column, second_column};

/// A 2:4 matrix in strips.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TwoFourCore {
    rows: usize,
    cols: usize,
    precision: Precision,
    lines: PackedLines,
}

impl TwoFourCore {
    /// Packs a core whose pattern is 2:4.
    pub fn new(core: &SparseCore, precision: Precision, threads: usize) -> Self {
        let (rows, cols) = (core.rows(), core.cols());
        let panel = lines_of_panel(core.groups(), precision);
        let mut lines = PackedLines::zeroed(rows.div_ceil(ROWS) * panel);
        lines.write_parts(PANELS * panel, threads, |(index, strip)| {
            strip.copy_from_slice(&pack_strip(core, index * STRIP_ROWS, precision));
        });
        TwoFourCore { rows, cols, precision, lines }
    }

    /// Gives the core back, its values as they were rounded, for a right wrapper with these blocks.
    pub fn unpack(&self, blocks: Partition) -> SparseCore {
        let mut core = SparseCore::zeros(self.rows, blocks, Pattern::TWO_FOUR);
        let (width, groups) = (self.precision.lines(), core.groups());
        for strip in (0..self.strips()).map(|index| self.strip(index)) {
            let panels = strip.panels();
            let whole = panels * (1 + GROUPS_PER_WORD * width);
            for (row, group) in (0..strip.rows).flat_map(|row| (0..groups).map(move |group| (row, group))) {
                let chunk = &strip.lines[group / GROUPS_PER_WORD * whole..];
                let (panel, lane, place) = (row / ROWS, row % ROWS, group % GROUPS_PER_WORD);
                let values = self.precision.read(&chunk[panels + (place * panels + panel) * width..], lane);
                let (mask, kept) = in_order_of_columns(chunk[panel].0[lane] >> (3 * place), values);
                core.set_group(strip.start + row, group, mask, &kept).expect("a code stands for two of four columns");
            }
        }
        core
    }

    /// Gives the number type of the kept values.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Counts the strips.
    pub fn strips(&self) -> usize {
        self.rows.div_ceil(STRIP_ROWS)
    }

    /// Gives strip `index`.
    pub fn strip(&self, index: usize) -> PackedStrip<'_> {
        let (start, panel) = (index * STRIP_ROWS, lines_of_panel(self.cols / 4, self.precision));
        let rows = STRIP_ROWS.min(self.rows - start);
        let lines = &self.lines.as_slice()[start / ROWS * panel..][..rows.div_ceil(ROWS) * panel];
        PackedStrip { lines, start, rows, cols: (0, self.cols) }
    }

    /// Counts the bytes of values and codes.
    pub fn bytes(&self) -> usize {
        self.lines.bytes()
    }
}

/// Packs the strip that begins at row `start`.
///
/// The strip is a run of chunks of [`GROUPS_PER_WORD`] groups. A chunk holds a line of codes for every panel, and then,
/// group by group, the values of every panel.
fn pack_strip(core: &SparseCore, start: usize, precision: Precision) -> Vec<CacheLine> {
    let (rows, groups) = (core.rows(), core.groups());
    let panels = STRIP_ROWS.min(rows - start).div_ceil(ROWS);
    let mut lines = Vec::with_capacity(panels * lines_of_panel(groups, precision));
    for first in (0..groups).step_by(GROUPS_PER_WORD) {
        let chunk = first..groups.min(first + GROUPS_PER_WORD);
        for panel in 0..panels {
            lines.push(CacheLine(std::array::from_fn(|lane| {
                let row = start + panel * ROWS + lane;
                let code = |group| if row < rows { code(core.group(row, group).0).code } else { 0 };
                chunk.clone().rev().fold(0, |codes, group| codes << 3 | code(group))
            })));
        }
        for (group, panel) in chunk.flat_map(|group| (0..panels).map(move |panel| (group, panel))) {
            let mut pairs = [[0.0; 2]; ROWS];
            let first = start + panel * ROWS;
            for (pair, row) in pairs.iter_mut().zip(first..rows) {
                *pair = in_packed_order(core.group(row, group));
            }
            precision.push(&mut lines, &pairs);
        }
    }
    lines
}

/// Counts the lines of a panel of so many groups.
fn lines_of_panel(groups: usize, precision: Precision) -> usize {
    groups.div_ceil(GROUPS_PER_WORD) + groups * precision.lines()
}

/// Gives the mask of a group and its values by column, from its code in the lowest bits and the packed values.
fn in_order_of_columns(codes: u32, [first, second]: [f32; 2]) -> (u8, [f32; 2]) {
    let columns = (first_column(codes), second_column(codes));
    let mask = 1 << columns.0 | 1 << columns.1;
    (mask, if columns.0 < columns.1 { [first, second] } else { [second, first] })
}

/// Gives the values of a group in the order that its code prescribes.
fn in_packed_order((mask, values): (u8, &[f32])) -> [f32; 2] {
    if code(mask).swapped { [values[1], values[0]] } else { [values[0], values[1]] }
}
