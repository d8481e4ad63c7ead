//! Strips: the rows of a packed matrix that one thread multiplies at a time.

use crate::kernels::cache_line::CacheLine;

/// Rows of a panel, one for each number of a cache line.
pub(super) const ROWS: usize = CacheLine::LEN;

/// Panels of a strip; the last strip may have fewer, and the last panel fewer rows than [`ROWS`].
pub(super) const PANELS: usize = 4;

/// Rows of a strip.
pub(super) const STRIP_ROWS: usize = PANELS * ROWS;

/// A strip of a packed matrix: its numbers, and where it lies in the matrix.
#[derive(Clone, Copy, Debug)]
pub(super) struct PackedStrip<'a> {
    pub lines: &'a [CacheLine],
    /// First row.
    pub start: usize,
    /// Rows, at most [`STRIP_ROWS`].
    pub rows: usize,
    /// First column that the strip multiplies, and the number of columns.
    pub cols: (usize, usize),
}

impl PackedStrip<'_> {
    /// Counts the panels; the last one may have fewer rows.
    pub fn panels(&self) -> usize {
        self.rows.div_ceil(ROWS)
    }
}

/// Some panels of a strip that are multiplied together: those from `first` on, of the `panels` that the strip has.
#[derive(Clone, Copy)]
pub(super) struct PanelOffset {
    pub panels: usize,
    pub first: usize,
}
