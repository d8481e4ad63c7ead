//! The packed form of a 2:4 core.

use crate::factors::precision::Precision;
use crate::factors::sparse_core::SparseCore;
use crate::kernels::cache_line::CacheLine;
use crate::packed::large_pages::PackedLines;
use crate::packed::strip::{PANELS, PackedStrip, ROWS, STRIP_ROWS};
use crate::packed::two_four_codes::{GROUPS_PER_WORD, code};

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

/// Gives the values of a group in the order that its code prescribes.
fn in_packed_order((mask, values): (u8, &[f32])) -> [f32; 2] {
    if code(mask).swapped { [values[1], values[0]] } else { [values[0], values[1]] }
}
