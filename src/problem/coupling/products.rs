//! Products of the factors with V = B̃ L, by spans of columns and bands of rows.

use std::ops::Range;

use rayon::prelude::*;

use super::Coupling;
use crate::factors::sparse_core::SparseCore;
use crate::kernels::linalg::{View, add_part_product, part_of, rows_of, set_product};
use crate::kernels::scratch::with_scratch;
use crate::problem::state::State;

/// What is multiplied by V.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spread {
    /// S V.
    Core,
    /// A S V.
    LeftProduct,
}

impl Coupling {
    /// out ← out + S V or A S V, m × k, row-major; `core` is the state's, which may have been taken out.
    pub fn add_spread(&self, what: Spread, state: &State<'_>, core: &SparseCore, out: &mut [f32]) {
        let (k, height) = (self.cols().len, self.bands().size());
        let mut rows_of_v = Vec::new();
        for span in self.spans().iter() {
            rows_of_v.resize(span.len() * span.end, 0.0);
            self.spread(state.right(), &span, &mut rows_of_v);
            out.par_chunks_mut(height * k).enumerate().for_each(|(band, out)| {
                let rows = self.bands().range(band).len();
                with_scratch([rows * span.len(); 2], |[dense, product]| {
                    let factor = match what {
                        Spread::Core => {
                            core.expand_rows(self.spans().blocks(&span), self.bands().range(band), dense);
                            dense
                        }
                        Spread::LeftProduct => {
                            self.left_product(state, core, band, &span, dense, product);
                            product
                        }
                    };
                    add_part_product(out, k, rows_of(factor, span.len()), rows_of(&rows_of_v, span.end));
                });
            });
        }
    }

    /// Writes the rows of a band of A S in the columns of a span; `dense` receives those of S.
    pub fn left_product(
        &self,
        state: &State<'_>,
        core: &SparseCore,
        band: usize,
        span: &Range<usize>,
        dense: &mut [f32],
        out: &mut [f32],
    ) {
        core.expand_rows(self.spans().blocks(span), self.bands().range(band), dense);
        self.multiply_left(state, band, span.len(), dense, out);
    }

    /// Writes A X for the rows of a band of X, which are `width` long.
    pub fn multiply_left(&self, state: &State<'_>, band: usize, width: usize, x: &[f32], out: &mut [f32]) {
        self.multiply_blocks(band, width, x, out, |a| self.left_block(state, a));
    }

    /// Writes Aᵀ X, likewise.
    pub fn multiply_left_transposed(&self, state: &State<'_>, band: usize, width: usize, x: &[f32], out: &mut [f32]) {
        self.multiply_blocks(band, width, x, out, |a| self.left_block(state, a).transpose());
    }

    fn left_block<'s>(&self, state: &'s State<'_>, a: usize) -> View<'s> {
        rows_of(state.left().values(a), self.bands().of.size(a))
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
        let height = self.bands().of.block * width;
        for ((a, x), out) in
            self.bands().blocks(&self.bands().range(band)).zip(x.chunks(height)).zip(out.chunks_mut(height))
        {
            set_product(out, factor(a), rows_of(x, width));
        }
    }

    /// Writes A S, m × k, row-major.
    pub fn write_left_product(&self, state: &State<'_>, out: &mut [f32]) {
        let (k, height) = (self.cols().len, self.bands().size());
        out.par_chunks_mut(height * k).enumerate().for_each(|(band, out)| {
            with_scratch([self.bands().range(band).len() * k], |[dense]| {
                self.left_product(state, state.core(), band, &(0..k), dense, out);
            });
        });
    }

    /// Writes the whitened residual A S V − Y L, m × k, row-major.
    pub fn write_residual(&self, state: &State<'_>, core: &SparseCore, out: &mut [f32]) {
        out.par_iter_mut().zip(self.whitened()).for_each(|(out, y)| *out = -y);
        self.add_spread(Spread::LeftProduct, state, core, out);
    }

    /// Columns `cols` of rows `rows` of a row-major m × k matrix.
    pub fn part<'a>(&self, matrix: &'a [f32], rows: Range<usize>, cols: Range<usize>) -> View<'a> {
        let k = self.cols().len;
        part_of(&matrix[rows.start * k + cols.start..], rows.len(), cols.len(), k)
    }
}
