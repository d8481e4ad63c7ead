//! The type of the sparse core, which keeps the N:M pattern by construction.

use ndarray::Array2;
use rayon::prelude::*;

use crate::error::Error;
use crate::factors::groups::{columns, expand_groups};
use crate::factors::partition::Partition;
use crate::factors::pattern::Pattern;
use crate::kernels::elementwise;

/// An m × k matrix that keeps exactly N of each M consecutive entries of a row; a kept value may be zero.
///
/// A *group* is such a run of M columns; group g of a row holds the columns from g·M to g·M + M − 1. No method can break
/// the pattern.
#[derive(Clone, Debug, PartialEq)]
pub struct SparseCore {
    rows: usize,
    cols: Partition,
    pattern: Pattern,
    /// Kept values by column panel, then row, then ascending column.
    values: Vec<f32>,
    /// One mask per group, bit j for column j of the group, in the order of the values.
    masks: Vec<u8>,
}

/// Consecutive rows of one column panel of a core.
pub(crate) struct CoreRows<'a> {
    pub values: &'a [f32],
    pub masks: &'a [u8],
}

/// Consecutive rows of one column panel of a core, mutable.
pub(crate) struct CoreRowsMut<'a> {
    pub values: &'a mut [f32],
    pub masks: &'a mut [u8],
}

impl<'a> CoreRowsMut<'a> {
    /// Splits off the first `groups` groups.
    pub fn split_at(self, groups: usize, pattern: Pattern) -> (Self, Self) {
        let (values, values_after) = self.values.split_at_mut(groups * pattern.n());
        let (masks, masks_after) = self.masks.split_at_mut(groups);
        (CoreRowsMut { values, masks }, CoreRowsMut { values: values_after, masks: masks_after })
    }

    /// Borrows the same rows again.
    pub fn reborrow(&mut self) -> CoreRowsMut<'_> {
        CoreRowsMut { values: self.values, masks: self.masks }
    }
}

impl SparseCore {
    /// Makes a core of zeros that keeps the first N entries of every group.
    pub(crate) fn zeros(rows: usize, cols: Partition, pattern: Pattern) -> Self {
        SparseCore {
            rows,
            cols,
            pattern,
            values: vec![0.0; rows * pattern.kept(cols.len)],
            masks: vec![(1u8 << pattern.n()) - 1; rows * (cols.len / pattern.m())],
        }
    }

    /// Returns the number of rows, m.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Returns the number of columns, k.
    pub fn cols(&self) -> usize {
        self.cols.len
    }

    /// Returns the pattern of every group.
    pub fn pattern(&self) -> Pattern {
        self.pattern
    }

    /// Returns the number of groups of a row, k / M.
    pub fn groups(&self) -> usize {
        self.cols.len / self.pattern.m()
    }

    /// Returns a group's mask (bit j for column j of the group) and its N kept values, in ascending column order.
    ///
    /// # Panics
    /// If there is no such group.
    pub fn group(&self, row: usize, group: usize) -> (u8, &[f32]) {
        let index = self.index(row, group);
        let n = self.pattern.n();
        (self.masks[index], &self.values[index * n..(index + 1) * n])
    }

    /// Sets the mask of one group and its kept values, in ascending column order.
    ///
    /// # Errors
    /// [`Error::GroupMask`] where the mask does not keep exactly N of M, [`Error::Length`] where there are not N
    /// values. In both cases the core stays unchanged.
    ///
    /// # Panics
    /// If there is no such group.
    pub fn set_group(&mut self, row: usize, group: usize, mask: u8, values: &[f32]) -> Result<(), Error> {
        let (n, m) = (self.pattern.n(), self.pattern.m());
        if !self.pattern.admits(mask) {
            return Err(Error::GroupMask { row, group, mask, n, m });
        }
        if values.len() != n {
            return Err(Error::Length { argument: "values", found: values.len(), expected: n });
        }
        let index = self.index(row, group);
        self.masks[index] = mask;
        self.values[index * n..(index + 1) * n].copy_from_slice(values);
        Ok(())
    }

    /// Copies the kept values into a matrix, m × kN/M, each row in ascending column order.
    pub fn to_compressed(&self) -> Array2<f32> {
        let n = self.pattern.n();
        let mut compressed = Array2::zeros((self.rows, self.pattern.kept(self.cols.len)));
        for ((row, group), _, values) in self.iter() {
            for (slot, &value) in values.iter().enumerate() {
                compressed[[row, group * n + slot]] = value;
            }
        }
        compressed
    }

    /// Makes the matrix of mask bits, m × ⌈k/8⌉ bytes: bit j mod 8 of byte j / 8 tells whether column j is kept; bit 0 is
    /// the least significant one.
    pub fn to_bitmask(&self) -> Array2<u8> {
        let mut bits = Array2::zeros((self.rows, self.cols.len.div_ceil(8)));
        for ((row, group), mask, _) in self.iter() {
            for column in columns(mask) {
                let column = group * self.pattern.m() + column;
                bits[[row, column / 8]] |= 1 << (column % 8);
            }
        }
        bits
    }

    /// Copies the core into a dense matrix, m × k, with its zeros.
    pub fn to_dense(&self) -> Array2<f32> {
        let mut dense = Array2::zeros((self.rows, self.cols.len));
        for ((row, group), mask, values) in self.iter() {
            for (column, &value) in columns(mask).zip(values) {
                dense[[row, group * self.pattern.m() + column]] = value;
            }
        }
        dense
    }

    /// Returns the division of the columns into the panels that the core is stored by.
    pub(crate) fn col_blocks(&self) -> Partition {
        self.cols
    }

    /// Multiplies a vector of length k.
    pub(crate) fn apply(&self, x: &[f64]) -> Vec<f64> {
        let mut y = vec![0.0; self.rows];
        for ((row, group), mask, values) in self.iter() {
            for (column, &value) in columns(mask).zip(values) {
                y[row] += f64::from(value) * x[group * self.pattern.m() + column];
            }
        }
        y
    }

    /// Iterates over all groups as ((row, group), mask, values), in storage order.
    fn iter(&self) -> impl Iterator<Item = ((usize, usize), u8, &[f32])> {
        let per_panel = self.cols.block / self.pattern.m();
        (0..self.cols.count()).flat_map(move |b| {
            let rows = self.panel_rows(b, 0..self.rows);
            let width = self.cols.size(b) / self.pattern.m();
            let values = rows.values.chunks_exact(self.pattern.n());
            rows.masks
                .iter()
                .zip(values)
                .enumerate()
                .map(move |(i, (&mask, values))| ((i / width, b * per_panel + i % width), mask, values))
        })
    }

    /// Position of a group in storage order.
    fn index(&self, row: usize, group: usize) -> usize {
        assert!(row < self.rows && group < self.groups(), "no group {group} in row {row}");
        let per_panel = self.cols.block / self.pattern.m();
        let b = group / per_panel;
        b * per_panel * self.rows + row * (self.cols.size(b) / self.pattern.m()) + group % per_panel
    }

    /// Returns rows `rows` of column panel `b`.
    pub(crate) fn panel_rows(&self, b: usize, rows: std::ops::Range<usize>) -> CoreRows<'_> {
        let n = self.pattern.n();
        let groups = self.cols.size(b) / self.pattern.m();
        let start = self.cols.start(b) / self.pattern.m() * self.rows;
        let range = start + rows.start * groups..start + rows.end * groups;
        CoreRows { values: &self.values[range.start * n..range.end * n], masks: &self.masks[range] }
    }

    /// Gives the kept values by column panel, then row, then ascending column.
    pub(crate) fn values(&self) -> &[f32] {
        &self.values
    }

    /// Returns the kept values, mutable: by column panel, then row, then ascending column.
    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// Writes rows `rows` of column panel `b` as a dense row-major matrix.
    pub(crate) fn expand(&self, b: usize, rows: std::ops::Range<usize>, out: &mut [f32]) {
        let core = self.panel_rows(b, rows);
        expand_groups(self.pattern, core.masks, core.values, out);
    }

    /// Writes rows `rows` of consecutive column panels as a dense row-major matrix.
    pub(crate) fn expand_rows(&self, panels: std::ops::Range<usize>, rows: std::ops::Range<usize>, out: &mut [f32]) {
        let (n, m) = (self.pattern.n(), self.pattern.m());
        let start = self.cols.start(panels.start);
        let width = self.cols.range(panels.end - 1).end - start;
        for b in panels {
            let core = self.panel_rows(b, rows.clone());
            let groups = self.cols.size(b) / m;
            let rows = core.masks.chunks_exact(groups).zip(core.values.chunks_exact(groups * n));
            for ((masks, values), out) in rows.zip(out.chunks_exact_mut(width)) {
                expand_groups(self.pattern, masks, values, &mut out[self.cols.start(b) - start..][..groups * m]);
            }
        }
    }

    /// Iterates over column panel `b` in mutable pieces of `height` rows; the last one may be smaller.
    pub(crate) fn panel_pieces_mut(
        &mut self,
        b: usize,
        height: usize,
    ) -> impl IndexedParallelIterator<Item = CoreRowsMut<'_>> {
        let n = self.pattern.n();
        let groups = self.cols.size(b) / self.pattern.m();
        let start = self.cols.start(b) / self.pattern.m() * self.rows;
        let range = start..start + self.rows * groups;
        let values = self.values[range.start * n..range.end * n].par_chunks_mut(height * groups * n);
        let masks = self.masks[range].par_chunks_mut(height * groups);
        values.zip(masks).map(|(values, masks)| CoreRowsMut { values, masks })
    }

    /// Iterates over all column panels in order, in mutable pieces of `height` rows; the last one of a panel may be smaller.
    ///
    /// Every item is the pair of indices (panel, piece) with its rows.
    pub(crate) fn pieces_mut(
        &mut self,
        height: usize,
    ) -> impl IndexedParallelIterator<Item = ((usize, usize), CoreRowsMut<'_>)> {
        let (n, rows) = (self.pattern.n(), self.rows);
        let mut pieces = Vec::new();
        let (mut values, mut masks) = (self.values.as_mut_slice(), self.masks.as_mut_slice());
        for b in 0..self.cols.count() {
            let groups = self.cols.size(b) / self.pattern.m();
            for (piece, start) in (0..rows).step_by(height).enumerate() {
                let count = height.min(rows - start) * groups;
                let (piece_values, rest) = values.split_at_mut(count * n);
                values = rest;
                let (piece_masks, rest) = masks.split_at_mut(count);
                masks = rest;
                pieces.push(((b, piece), CoreRowsMut { values: piece_values, masks: piece_masks }));
            }
        }
        pieces.into_par_iter()
    }

    /// Copies a core of the same shape.
    pub(crate) fn copy_from(&mut self, other: &SparseCore) {
        self.values.copy_from_slice(&other.values);
        self.masks.copy_from_slice(&other.masks);
    }

    /// Extrapolates every group whose mask is the same in `previous`, S ← S + factor (S − S_previous), and stores the old S
    /// in `previous`.
    pub(crate) fn extrapolate(&mut self, previous: &mut SparseCore, factor: f32) {
        let n = self.pattern.n();
        const CHUNK: usize = 1 << 14;
        let values = self.values.par_chunks_mut(CHUNK * n).zip(previous.values.par_chunks_mut(CHUNK * n));
        let masks = self.masks.par_chunks(CHUNK).zip(previous.masks.par_chunks_mut(CHUNK));
        values.zip(masks).for_each(|((values, previous_values), (masks, previous_masks))| {
            elementwise::move_groups_on(n, (values, masks), (previous_values, previous_masks), factor);
        });
    }
}
