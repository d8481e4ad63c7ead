//! Products of the factors with V = B̃ L, by tiles of columns and bands of rows.

use std::ops::Range;

use rayon::prelude::*;

use crate::factors::sparse_core::SparseCore;
use crate::kernels::linalg::{View, add_part_product, part_of, rows_of, set_product};
use crate::kernels::scratch::with_scratch;
use crate::problem::coupling::Coupling;
use crate::problem::wrappers::Wrappers;

/// What is multiplied by V.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimesV {
    /// S V.
    Core,
    /// A S V.
    LeftProduct,
}

impl Coupling {
    /// out ← out + S V or A S V, m × k, row-major.
    pub(crate) fn add_times_v(&self, what: TimesV, wrappers: Wrappers<'_>, core: &SparseCore, out: &mut [f32]) {
        let (k, height) = (self.cols().len, self.bands().size());
        let mut rows_of_v = Vec::new();
        for tile in self.tiles().iter() {
            rows_of_v.resize(tile.len() * tile.end, 0.0);
            self.write_rows_of_v(wrappers.right, &tile, &mut rows_of_v);
            out.par_chunks_mut(height * k).enumerate().for_each(|(band, out)| {
                let rows = self.bands().range(band).len();
                with_scratch([rows * tile.len(); 2], |[dense, product]| {
                    let factor = match what {
                        TimesV::Core => {
                            core.expand_rows(self.tiles().blocks_of(&tile), self.bands().range(band), dense);
                            dense
                        }
                        TimesV::LeftProduct => {
                            self.left_product(wrappers, core, band, &tile, dense, product);
                            product
                        }
                    };
                    add_part_product(out, k, rows_of(factor, tile.len()), rows_of(&rows_of_v, tile.end));
                });
            });
        }
    }

    /// Writes the rows of a band of A S in the columns of a tile; `dense` receives those of S.
    fn left_product(
        &self,
        wrappers: Wrappers<'_>,
        core: &SparseCore,
        band: usize,
        tile: &Range<usize>,
        dense: &mut [f32],
        out: &mut [f32],
    ) {
        core.expand_rows(self.tiles().blocks_of(tile), self.bands().range(band), dense);
        self.multiply_left(wrappers, band, tile.len(), dense, out);
    }

    /// Writes A X for the rows of a band of X, which are `width` long.
    pub(crate) fn multiply_left(&self, wrappers: Wrappers<'_>, band: usize, width: usize, x: &[f32], out: &mut [f32]) {
        self.multiply_blocks(band, width, x, out, |a| self.left_block(wrappers, a));
    }

    /// Writes Aᵀ X, as [`Coupling::multiply_left`] writes A X.
    pub(crate) fn multiply_left_transposed(
        &self,
        wrappers: Wrappers<'_>,
        band: usize,
        width: usize,
        x: &[f32],
        out: &mut [f32],
    ) {
        self.multiply_blocks(band, width, x, out, |a| self.left_block(wrappers, a).transpose());
    }

    fn left_block<'s>(&self, wrappers: Wrappers<'s>, a: usize) -> View<'s> {
        rows_of(wrappers.left.values(a), self.bands().blocks.size(a))
    }

    /// Multiplies every row block of a band by its own matrix.
    fn multiply_blocks<'s>(
        &self,
        band: usize,
        width: usize,
        x: &[f32],
        out: &mut [f32],
        factor: impl Fn(usize) -> View<'s>,
    ) {
        let height = self.bands().blocks.block * width;
        let blocks = self.bands().blocks_of(&self.bands().range(band));
        for ((a, x), out) in blocks.zip(x.chunks(height)).zip(out.chunks_mut(height)) {
            set_product(out, factor(a), rows_of(x, width));
        }
    }

    /// Writes A S, m × k, row-major.
    pub(crate) fn write_left_product(&self, wrappers: Wrappers<'_>, core: &SparseCore, out: &mut [f32]) {
        let (k, height) = (self.cols().len, self.bands().size());
        out.par_chunks_mut(height * k).enumerate().for_each(|(band, out)| {
            with_scratch([self.bands().range(band).len() * k], |[dense]| {
                self.left_product(wrappers, core, band, &(0..k), dense, out);
            });
        });
    }

    /// Writes the whitened residual A S V − Y L, m × k, row-major.
    pub(crate) fn write_residual(&self, wrappers: Wrappers<'_>, core: &SparseCore, out: &mut [f32]) {
        out.par_iter_mut().zip(self.whitened()).for_each(|(out, y)| *out = -y);
        self.add_times_v(TimesV::LeftProduct, wrappers, core, out);
    }

    /// Columns `cols` of rows `rows` of a row-major m × k matrix.
    pub(crate) fn part<'a>(&self, matrix: &'a [f32], rows: Range<usize>, cols: Range<usize>) -> View<'a> {
        let k = self.cols().len;
        part_of(&matrix[rows.start * k + cols.start..], rows.len(), cols.len(), k)
    }
}
