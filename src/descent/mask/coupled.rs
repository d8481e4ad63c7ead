//! The exact sweep where errors couple: panel after panel, with every panel's change carried to those after it.
//!
//! With the whitened residual E = A S V − Y L, V = B̃ L, half the loss's gradient in panel b is Aᵀ E V_bᵀ, and a
//! group's own curvature is P_rr Q_gg with Q = V Vᵀ. So a block is solved as where errors do not couple; its change ΔS
//! then moves the gradient of all later panels. Within a span of panels that goes by Q, of one span's width; between
//! spans by the residual.

use std::ops::Range;
use std::time::{Duration, Instant};

use rayon::prelude::*;

use super::sweep::{Batch, Batches, ExactSweep, Panel, RIDGE, SweepTimes};
use crate::descent::step::Step;
use crate::factors::groups::expand_groups;
use crate::factors::sparse_core::SparseCore;
use crate::kernels::linalg::{add_part_product, part_of, rows_of, set_product};
use crate::kernels::scratch::with_scratch;
use crate::problem::coupling::Coupling;
use crate::problem::state::State;

/// What a sweep works with in one span of panels.
#[derive(Default)]
struct Work {
    /// Rows of V, width × end.
    spread: Vec<f32>,
    /// The same, end × width: products with Vᵀ run faster on it.
    transposed: Vec<f32>,
    /// Q = V Vᵀ of the span, width × width.
    gram: Vec<f32>,
    /// Half gradients as the span began, m × width.
    gradients: Vec<f32>,
    /// ΔS so far, m × width.
    changes: Vec<f32>,
}

impl ExactSweep {
    /// The sweep of a coupled loss.
    pub(super) fn sweep_coupled(&mut self, state: &mut State<'_>, coupling: &Coupling, step: &Step) {
        let start = Instant::now();
        self.prepare_left(state);
        let mut residual = state.take_workspace();
        let mut core = state.take_core();
        coupling.write_residual(state, &core, &mut residual);
        let mut work = Work::default();
        let mut sweeping = Duration::ZERO;
        for span in coupling.spans().iter() {
            self.begin_span(state, coupling, &span, &residual, &mut work);
            for b in coupling.spans().blocks(&span) {
                self.carry(state, coupling, &span, b, &mut work);
                let start = Instant::now();
                self.sweep_panel(state, &mut core, step, coupling.cols().start(b) - span.start, b, &mut work);
                sweeping += start.elapsed();
            }
            end_span(state, coupling, &span, &work, &mut residual);
        }
        let loss = coupling.square(&residual);
        state.put_core(core, Some(loss));
        state.put_workspace(residual);
        self.times = SweepTimes { gradient: start.elapsed() - sweeping, sweep: sweeping };
    }

    /// Computes a span's V, Q, gradients and the tables of its panels.
    fn begin_span(
        &mut self,
        state: &State<'_>,
        coupling: &Coupling,
        span: &Range<usize>,
        residual: &[f32],
        work: &mut Work,
    ) {
        let (width, end, height) = (span.len(), span.end, coupling.bands().size());
        work.spread.resize(width * end, 0.0);
        coupling.spread(state.right(), span, &mut work.spread);
        transpose(&work.spread, end, &mut work.transposed);
        let (spread, transposed) = (rows_of(&work.spread, end), rows_of(&work.transposed, width));
        work.gram.resize(width * width, 0.0);
        work.gram.par_chunks_mut(coupling.cols().block * width).enumerate().for_each(|(i, gram)| {
            let rows = gram.len() / width;
            set_product(gram, spread.subrows(i * coupling.cols().block, rows), transposed);
        });
        work.changes.clear();
        work.changes.resize(coupling.bands().of.len * width, 0.0);
        work.gradients.resize(work.changes.len(), 0.0);
        work.gradients.par_chunks_mut(height * width).enumerate().for_each(|(band, gradients)| {
            with_scratch([gradients.len()], |[half]| {
                let rows = coupling.bands().range(band);
                set_product(half, coupling.part(residual, rows, 0..end), transposed);
                coupling.multiply_left_transposed(state, band, width, half, gradients);
            });
        });
        for b in coupling.spans().blocks(span) {
            let (q, first) = (coupling.cols().size(b), coupling.cols().start(b) - span.start);
            let Panel { gram, tables } = &mut self.panels[b];
            gram.clear();
            for row in 0..q {
                gram.extend_from_slice(&work.gram[(first + row) * width + first..][..q]);
            }
            tables.prepare(gram, q, RIDGE);
        }
    }

    /// Carries the span's changes so far to the gradients of panel `b`: G_b += P ΔS Q_:b.
    fn carry(&self, state: &State<'_>, coupling: &Coupling, span: &Range<usize>, b: usize, work: &mut Work) {
        let (width, first, q) = (span.len(), coupling.cols().start(b) - span.start, coupling.cols().size(b));
        if first == 0 {
            return;
        }
        let Work { gram, gradients, changes, .. } = work;
        let rows = coupling.bands().of;
        let grams = part_of(&gram[first..], first, q, width);
        let blocks = gradients.par_chunks_mut(rows.block * width).zip(changes.par_chunks(rows.block * width));
        blocks.enumerate().for_each(|(a, (gradients, changes))| {
            let p = state.target().row_blocks().size(a);
            with_scratch([p * q], |[moved]| {
                set_product(moved, part_of(changes, p, first, width), grams);
                let left_gram = rows_of(&self.left_grams[a * rows.block * rows.block..][..p * p], p);
                add_part_product(&mut gradients[first..], width, left_gram, rows_of(moved, q));
            });
        });
    }

    /// Solves every group of panel `b`, whose first column in the span is `first`.
    fn sweep_panel(
        &self,
        state: &State<'_>,
        core: &mut SparseCore,
        step: &Step,
        first: usize,
        b: usize,
        work: &mut Work,
    ) {
        let target = state.target();
        let batches = Batches { lanes: self.instructions.lanes(), partition: target.row_blocks() };
        let (q, width) = (target.col_blocks().size(b), work.changes.len() / target.rows());
        let height = batches.rows();
        let pieces = core.panel_pieces_mut(b, height);
        let gradients = work.gradients.par_chunks(height * width);
        let changes = work.changes.par_chunks_mut(height * width);
        pieces.zip(gradients).zip(changes).enumerate().for_each(|(piece, ((core, gradients), changes))| {
            let mut rest = core;
            let mut done = 0;
            for blocks in batches.runs(piece) {
                let batch = Batch { state, step, b, blocks, panel: &self.panels[b] };
                let (mut core, after) = rest.split_at(batch.groups(), target.pattern());
                rest = after;
                let size = core.masks.len() * target.pattern().m();
                let rows = done..done + size / q;
                done = rows.end;
                with_scratch([size, size, batch.scratch()], |[dense, gradient, scratch]| {
                    for (row, gradient) in rows.clone().zip(gradient.chunks_exact_mut(q)) {
                        gradient.copy_from_slice(&gradients[row * width + first..][..q]);
                    }
                    expand_groups(target.pattern(), core.masks, core.values, dense);
                    batch.descend(self.instructions, &self.left_grams, core.reborrow(), gradient, scratch);
                    let after = gradient;
                    expand_groups(target.pattern(), core.masks, core.values, after);
                    let rows = rows.zip(dense.chunks_exact(q).zip(after.chunks_exact(q)));
                    for (row, (before, after)) in rows {
                        let change = &mut changes[row * width + first..][..q];
                        for ((change, before), after) in change.iter_mut().zip(before).zip(after) {
                            *change = after - before;
                        }
                    }
                });
            }
        });
    }
}

/// Writes the transpose of a row-major matrix with `cols` columns.
fn transpose(matrix: &[f32], cols: usize, out: &mut Vec<f32>) {
    let rows = matrix.len() / cols;
    out.resize(matrix.len(), 0.0);
    out.par_chunks_mut(TILE * rows).enumerate().for_each(|(tile, out)| {
        for (row, values) in matrix.chunks_exact(cols).enumerate() {
            let values = &values[tile * TILE..cols.min((tile + 1) * TILE)];
            for (out, value) in out[row..].iter_mut().step_by(rows).zip(values) {
                *out = *value;
            }
        }
    });
}

/// Columns that are transposed together: one cache line of a row.
const TILE: usize = 16;

/// Carries a span's changes to the residual: E += A ΔS V.
fn end_span(state: &State<'_>, coupling: &Coupling, span: &Range<usize>, work: &Work, residual: &mut [f32]) {
    let (k, width, height) = (coupling.cols().len, span.len(), coupling.bands().size());
    let bands = residual.par_chunks_mut(height * k).zip(work.changes.par_chunks(height * width));
    bands.enumerate().for_each(|(band, (residual, changes))| {
        with_scratch([changes.len()], |[product]| {
            coupling.multiply_left(state, band, width, changes, product);
            add_part_product(residual, k, rows_of(product, width), rows_of(&work.spread, span.end));
        });
    });
}
