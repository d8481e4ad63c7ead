//! The exact sweep of a separable loss: blocks are independent, and each is swept row by row.

use std::ops::Range;
use std::time::Instant;

use rayon::prelude::*;

use crate::descent::core_update::batch::{Batch, Batches};
use crate::descent::core_update::strip::BlockShape;
use crate::descent::core_update::tracked_loss::{Change, loss_after};
use crate::descent::core_update::workspace::{SweepTimes, SweepWorkspace};
use crate::descent::step::Step;
use crate::factors::groups::expand_groups;
use crate::factors::sparse_core::CoreRowsMut;
use crate::kernels::linalg::{rows_of, set_product};
use crate::kernels::scratch::with_scratch;
use crate::problem::state::State;
use crate::problem::wrappers::Wrappers;

/// Solves every group once, and reports the loss where rounding allows it.
pub(super) fn sweep(workspace: &mut SweepWorkspace, state: &mut State<'_>, step: &Step) {
    let target = state.target();
    let (core, wrappers) = state.split_core();
    workspace.prepare_left(wrappers);
    workspace.prepare_right(wrappers);
    let batches = Batches { lanes: workspace.instructions.lanes(), partition: target.row_blocks() };
    let swept: Vec<Swept> = core
        .pieces_mut(batches.rows())
        .map(|((b, piece), core)| {
            let panel = &workspace.panels[b];
            let mut sum = Swept::default();
            let mut rest = core;
            for blocks in batches.runs(piece) {
                let batch = SeparableBatch { wrappers, batch: Batch { target, step, b, blocks, panel } };
                let (core, after) = rest.split_at(batch.batch.groups(), target.pattern());
                rest = after;
                sum = sum.and(batch.sweep(workspace, core));
            }
            sum
        })
        .collect();
    let total = swept.into_iter().fold(Swept::default(), Swept::and);
    workspace.times = total.times;
    if let Some(loss) = loss_after(total.loss, total.change, target.energy()) {
        state.report_loss(loss);
    }
}

/// Blocks' loss before a sweep, how it changed, and the time taken.
#[derive(Clone, Copy, Default)]
struct Swept {
    loss: f64,
    change: Change,
    times: SweepTimes,
}

impl Swept {
    fn and(self, other: Swept) -> Swept {
        Swept {
            loss: self.loss + other.loss,
            change: self.change.and(other.change),
            times: self.times.and(other.times),
        }
    }
}

/// A batch with the wrappers that its gradient needs.
struct SeparableBatch<'a> {
    wrappers: Wrappers<'a>,
    batch: Batch<'a>,
}

impl SeparableBatch<'_> {
    fn sweep(&self, workspace: &SweepWorkspace, core: CoreRowsMut<'_>) -> Swept {
        let BlockShape { blocks, p, q } = self.batch.shape();
        let size = p * q;
        let stacked = self.stack() * size;
        let lengths = [size, stacked, stacked, blocks * size, self.batch.scratch()];
        with_scratch(lengths, |[dense, halves, residuals, gradients, scratch]| {
            let start = Instant::now();
            let loss = self.gradients_and_loss(&core, [dense, halves, residuals], gradients);
            let gradient_done = Instant::now();
            let change = self.batch.descend(workspace.instructions, &workspace.left_grams, core, gradients, scratch);
            let times = SweepTimes { gradient: gradient_done - start, sweep: gradient_done.elapsed() };
            Swept { loss, change, times }
        })
    }

    /// Blocks that are stacked up for one product: enough rows for the product to be efficient, few enough for the
    /// second-level cache.
    fn stack(&self) -> usize {
        const ROWS: usize = 512;
        let BlockShape { blocks, p, .. } = self.batch.shape();
        (ROWS / p).clamp(1, blocks)
    }

    /// Fills half the gradient of every block, Aᵀ E B̃ᵀ with the residual E, and returns the blocks' loss.
    fn gradients_and_loss(&self, core: &CoreRowsMut<'_>, work: [&mut [f32]; 3], gradients: &mut [f32]) -> f64 {
        let (wrappers, b, BlockShape { p, q, .. }) = (self.wrappers, self.batch.b, self.batch.shape());
        let [dense, halves, residuals] = work;
        let size = p * q;
        let right = rows_of(wrappers.right.values(b), q);
        let mut loss = 0.0;
        for (index, gradients) in gradients.chunks_mut(self.stack() * size).enumerate() {
            let first = index * self.stack();
            let start = self.batch.blocks.start + first;
            let blocks = start..start + gradients.len() / size;
            let (halves, residuals) = (&mut halves[..gradients.len()], &mut residuals[..gradients.len()]);
            let product = match wrappers.left_product(blocks.clone(), b) {
                Some(product) => product,
                None => {
                    self.multiply_left(core, first, blocks.clone(), dense, halves);
                    &*halves
                }
            };
            loss += wrappers.residual(blocks.clone(), b, product, residuals);
            for (a, (half, residual)) in blocks.zip(halves.chunks_exact_mut(size).zip(residuals.chunks_exact(size))) {
                set_product(half, rows_of(wrappers.left.values(a), p).transpose(), rows_of(residual, q));
            }
            set_product(gradients, rows_of(halves, q), right.transpose());
        }
        loss
    }

    /// Writes A_a S_ab of consecutive blocks, the first of which is number `first` of the batch.
    fn multiply_left(
        &self,
        core: &CoreRowsMut<'_>,
        first: usize,
        blocks: Range<usize>,
        dense: &mut [f32],
        products: &mut [f32],
    ) {
        let pattern = self.batch.target.pattern();
        let size = dense.len();
        let groups = size / pattern.m();
        for ((block, a), product) in (first..).zip(blocks).zip(products.chunks_exact_mut(size)) {
            let masks = &core.masks[block * groups..(block + 1) * groups];
            let values = &core.values[block * groups * pattern.n()..(block + 1) * groups * pattern.n()];
            expand_groups(pattern, masks, values, dense);
            self.wrappers.multiply_left(a, dense, product);
        }
    }
}
