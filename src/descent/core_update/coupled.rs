//! The exact sweep where errors couple: panel after panel, with every panel's change carried to those after it.
//!
//! With the whitened residual E = A S V − Y L, V = B̃ L, half the loss's gradient in panel b is Aᵀ E V_bᵀ, and a
//! group's own curvature is P_rr Q_gg with Q = V Vᵀ. So a block is solved as where errors do not couple; its change ΔS
//! then moves the gradient of all later panels. Within a tile of panels the change is carried by Q, which has the tile's
//! width; between tiles by the residual.

use std::ops::Range;
use std::time::{Duration, Instant};

use rayon::prelude::*;

use crate::descent::core_update::batch::{Batch, Batches};
use crate::descent::core_update::workspace::{SweepTimes, SweepWorkspace};
use crate::descent::step::Step;
use crate::factors::groups::expand_groups;
use crate::factors::sparse_core::{CoreRowsMut, SparseCore};
use crate::kernels::linalg::{add_part_product, part_of, rows_of, set_product};
use crate::kernels::scratch::with_scratch;
use crate::problem::coupling::Coupling;
use crate::problem::state::{SplitState, State};
use crate::problem::wrappers::Wrappers;

/// Solves every group once, and reports the loss.
pub(super) fn sweep(workspace: &mut SweepWorkspace, state: &mut State<'_>, coupling: &Coupling, step: &Step) {
    let start = Instant::now();
    let SplitState { target, left, core, right, workspace: residual } = state.split();
    let wrappers = Wrappers::new(target, left, right);
    workspace.prepare_left(wrappers);
    coupling.write_residual(wrappers, core, residual);
    let mut tile_buffers = TileBuffers::default();
    let mut sweeping = Duration::ZERO;
    for columns in coupling.tiles().iter() {
        let mut tile = TileSweep { workspace, wrappers, coupling, step, columns, buffers: &mut tile_buffers };
        tile.begin(residual);
        for b in coupling.tiles().blocks_of(&tile.columns) {
            tile.carry(b);
            let start = Instant::now();
            tile.sweep_panel(core, b);
            sweeping += start.elapsed();
        }
        tile.end(residual);
    }
    let loss = coupling.square(residual);
    workspace.times = SweepTimes { gradient: start.elapsed() - sweeping, sweep: sweeping };
    state.report_loss(loss);
}

/// What a sweep computes for one tile of panels.
#[derive(Default)]
struct TileBuffers {
    /// Rows of V, width × end.
    rows_of_v: Vec<f32>,
    /// The same, end × width: products with Vᵀ run faster on it.
    transposed: Vec<f32>,
    /// Q = V Vᵀ of the tile, width × width.
    gram: Vec<f32>,
    /// Half gradients as the tile began, m × width.
    gradients: Vec<f32>,
    /// ΔS so far, m × width.
    changes: Vec<f32>,
}

/// The sweep of one tile of panels.
struct TileSweep<'a> {
    workspace: &'a mut SweepWorkspace,
    wrappers: Wrappers<'a>,
    coupling: &'a Coupling,
    step: &'a Step,
    /// The tile's columns.
    columns: Range<usize>,
    buffers: &'a mut TileBuffers,
}

impl TileSweep<'_> {
    /// Computes the tile's V, Q, gradients and the tables of its panels.
    fn begin(&mut self, residual: &[f32]) {
        let (coupling, width, end) = (self.coupling, self.columns.len(), self.columns.end);
        let buffers = &mut *self.buffers;
        buffers.rows_of_v.resize(width * end, 0.0);
        coupling.write_rows_of_v(self.wrappers.right, &self.columns, &mut buffers.rows_of_v);
        transpose(&buffers.rows_of_v, end, &mut buffers.transposed);
        let (rows_of_v, transposed) = (rows_of(&buffers.rows_of_v, end), rows_of(&buffers.transposed, width));
        buffers.gram.resize(width * width, 0.0);
        buffers.gram.par_chunks_mut(coupling.cols().block * width).enumerate().for_each(|(i, gram)| {
            let rows = gram.len() / width;
            set_product(gram, rows_of_v.subrows(i * coupling.cols().block, rows), transposed);
        });
        buffers.changes.clear();
        buffers.changes.resize(coupling.bands().blocks.len * width, 0.0);
        buffers.gradients.resize(buffers.changes.len(), 0.0);
        let bands = buffers.gradients.par_chunks_mut(coupling.bands().size() * width);
        bands.enumerate().for_each(|(band, gradients)| {
            with_scratch([gradients.len()], |[half]| {
                let rows = coupling.bands().range(band);
                set_product(half, coupling.part(residual, rows, 0..end), transposed);
                coupling.multiply_left_transposed(self.wrappers, band, width, half, gradients);
            });
        });
        self.prepare_panels();
    }

    /// Copies each panel's own part of Q, and computes its tables.
    fn prepare_panels(&mut self) {
        let width = self.columns.len();
        for b in self.coupling.tiles().blocks_of(&self.columns) {
            let (q, first) = (self.coupling.cols().size(b), self.first_column(b));
            let panel = &mut self.workspace.panels[b];
            panel.gram.clear();
            for row in 0..q {
                panel.gram.extend_from_slice(&self.buffers.gram[(first + row) * width + first..][..q]);
            }
            panel.prepare_groups(q);
        }
    }

    /// First column of panel `b`, counted from the tile's first.
    fn first_column(&self, b: usize) -> usize {
        self.coupling.cols().start(b) - self.columns.start
    }

    /// Carries the tile's changes so far to the gradients of panel `b`: G_b += P ΔS Q_:b.
    fn carry(&mut self, b: usize) {
        let (width, first, q) = (self.columns.len(), self.first_column(b), self.coupling.cols().size(b));
        if first == 0 {
            return;
        }
        let TileBuffers { gram, gradients, changes, .. } = &mut *self.buffers;
        let (rows, left_grams) = (self.coupling.bands().blocks, &self.workspace.left_grams);
        let grams = part_of(&gram[first..], first, q, width);
        let blocks = gradients.par_chunks_mut(rows.block * width).zip(changes.par_chunks(rows.block * width));
        blocks.enumerate().for_each(|(a, (gradients, changes))| {
            let p = rows.size(a);
            with_scratch([p * q], |[moved]| {
                set_product(moved, part_of(changes, p, first, width), grams);
                let left_gram = rows_of(&left_grams[a * rows.block * rows.block..][..p * p], p);
                add_part_product(&mut gradients[first..], width, left_gram, rows_of(moved, q));
            });
        });
    }

    /// Solves every group of panel `b`.
    fn sweep_panel(&mut self, core: &mut SparseCore, b: usize) {
        let (target, workspace) = (self.wrappers.target, &*self.workspace);
        let batches = Batches { lanes: workspace.instructions.lanes(), partition: target.row_blocks() };
        let (width, height) = (self.columns.len(), batches.rows());
        let columns = PanelColumns { width, first: self.first_column(b), q: target.col_blocks().size(b) };
        let step = self.step;
        let pieces = core.panel_pieces_mut(b, height);
        let gradients = self.buffers.gradients.par_chunks(height * width);
        let changes = self.buffers.changes.par_chunks_mut(height * width);
        pieces.zip(gradients).zip(changes).enumerate().for_each(|(piece, ((core, gradients), changes))| {
            let mut rest = core;
            let mut done = 0;
            for blocks in batches.runs(piece) {
                let batch = Batch { target, step, b, blocks, panel: &workspace.panels[b] };
                let (core, after) = rest.split_at(batch.groups(), target.pattern());
                rest = after;
                let rows = done..done + batch.shape().blocks * batch.shape().p;
                done = rows.end;
                sweep_batch(workspace, &batch, core, columns.of(rows, gradients, changes));
            }
        });
    }

    /// Carries the tile's changes to the residual: E += A ΔS V.
    fn end(&self, residual: &mut [f32]) {
        let (coupling, k, width) = (self.coupling, self.coupling.cols().len, self.columns.len());
        let height = coupling.bands().size();
        let bands = residual.par_chunks_mut(height * k).zip(self.buffers.changes.par_chunks(height * width));
        bands.enumerate().for_each(|(band, (residual, changes))| {
            with_scratch([changes.len()], |[product]| {
                coupling.multiply_left(self.wrappers, band, width, changes, product);
                let rows_of_v = rows_of(&self.buffers.rows_of_v, self.columns.end);
                add_part_product(residual, k, rows_of(product, width), rows_of_v);
            });
        });
    }
}

/// Where a panel's columns stand in the rows of its tile: `q` columns from `first` on, of `width`.
#[derive(Clone, Copy)]
struct PanelColumns {
    width: usize,
    first: usize,
    q: usize,
}

/// A batch's part of the tile's gradients and changes.
struct BatchPart<'a> {
    columns: PanelColumns,
    /// Rows of the batch in the arrays.
    rows: Range<usize>,
    gradients: &'a [f32],
    changes: &'a mut [f32],
}

impl PanelColumns {
    fn of<'a>(self, rows: Range<usize>, gradients: &'a [f32], changes: &'a mut [f32]) -> BatchPart<'a> {
        BatchPart { columns: self, rows, gradients, changes }
    }
}

/// Solves every group of a batch, and writes the change of its dense core.
fn sweep_batch(workspace: &SweepWorkspace, batch: &Batch<'_>, mut core: CoreRowsMut<'_>, part: BatchPart<'_>) {
    let pattern = batch.target.pattern();
    let BatchPart { columns: PanelColumns { width, first, q }, rows, gradients, changes } = part;
    let size = rows.len() * q;
    with_scratch([size, size, batch.scratch()], |[before, gradient, scratch]| {
        for (row, gradient) in rows.clone().zip(gradient.chunks_exact_mut(q)) {
            gradient.copy_from_slice(&gradients[row * width + first..][..q]);
        }
        expand_groups(pattern, core.masks, core.values, before);
        batch.descend(workspace.instructions, &workspace.left_grams, core.reborrow(), gradient, scratch);
        let after = gradient;
        expand_groups(pattern, core.masks, core.values, after);
        for (row, (before, after)) in rows.zip(before.chunks_exact(q).zip(after.chunks_exact(q))) {
            let change = &mut changes[row * width + first..][..q];
            for ((change, before), after) in change.iter_mut().zip(before).zip(after) {
                *change = after - before;
            }
        }
    });
}

/// Writes the transpose of a row-major matrix with `cols` columns.
fn transpose(matrix: &[f32], cols: usize, out: &mut Vec<f32>) {
    /// Columns that are transposed together: one cache line of a row.
    const TILE: usize = 16;
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
