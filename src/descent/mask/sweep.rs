//! The exact core update: one Gauss–Seidel sweep over every group of every block, mask and values together.

use std::ops::Range;
use std::time::{Duration, Instant};

use rayon::prelude::*;

use super::groups::{GroupTables, Ridge};
use super::noise::BlockNoise;
use super::strip::{STRIP, Shape, Strip};
use crate::descent::mask::selector::MaskSelector;
use crate::descent::mask::tracked_loss::{Change, loss_after};
use crate::descent::step::Step;
use crate::error::Error;
use crate::factors::groups::expand_groups;
use crate::factors::partition::Partition;
use crate::factors::sparse_core::CoreRowsMut;
use crate::kernels::instructions::InstructionSet;
use crate::kernels::linalg::{add_product, part_of, rows_of, set_product};
use crate::kernels::scratch::with_scratch;
use crate::problem::state::State;

/// Solves every group exactly once, keeping the best of all masks: the loss never rises.
#[derive(Clone, Debug)]
pub struct ExactSweep {
    pub(super) instructions: InstructionSet,
    pub(super) left_grams: Vec<f32>,
    pub(super) panels: Vec<Panel>,
    pub(super) times: SweepTimes,
}

/// Where the last update's time went, added up over its threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SweepTimes {
    /// The loss's gradient: products.
    pub gradient: Duration,
    /// Random numbers, group solves and what they change, products with the rows below included.
    pub sweep: Duration,
}

/// As [`ExactSweep`], but draws the mask with probability ∝ exp(gain / T) at the step's temperature T.
///
/// The values are exact for the drawn mask. At T = 0 it is the exact sweep.
#[derive(Clone, Debug, Default)]
pub struct AnnealedSweep(ExactSweep);

impl ExactSweep {
    /// Makes a sweep that runs on these instructions, or on the best ones where the CPU lacks them. Default: the best.
    pub fn on(instructions: InstructionSet) -> Self {
        let instructions = instructions.or_best();
        ExactSweep { instructions, left_grams: Vec::new(), panels: Vec::new(), times: SweepTimes::default() }
    }

    /// Where the last update's time went.
    pub fn times(&self) -> SweepTimes {
        self.times
    }
}

impl Default for ExactSweep {
    fn default() -> Self {
        Self::on(InstructionSet::best())
    }
}

impl AnnealedSweep {
    /// As [`ExactSweep::on`].
    pub fn on(instructions: InstructionSet) -> Self {
        AnnealedSweep(ExactSweep::on(instructions))
    }

    /// As [`ExactSweep::times`].
    pub fn times(&self) -> SweepTimes {
        self.0.times()
    }
}

impl MaskSelector for ExactSweep {
    fn select(&mut self, state: &mut State<'_>, step: &Step) -> Result<(), Error> {
        self.sweep(state, &Step { temperature: 0.0, ..*step });
        Ok(())
    }
}

impl MaskSelector for AnnealedSweep {
    fn select(&mut self, state: &mut State<'_>, step: &Step) -> Result<(), Error> {
        self.0.sweep(state, step);
        Ok(())
    }
}

/// What all blocks of one column panel share.
#[derive(Clone, Debug)]
pub(super) struct Panel {
    /// Q = B̃ B̃ᵀ, q × q.
    pub gram: Vec<f32>,
    pub tables: GroupTables,
}

/// Ridge of the group solves: the square root of f32's precision would bias values, this only breaks ties.
pub(super) const RIDGE: Ridge = Ridge { relative: 1e-6, absolute: 0.0 };

impl ExactSweep {
    fn sweep(&mut self, state: &mut State<'_>, step: &Step) {
        if let Some(coupling) = state.target().coupling() {
            return self.sweep_coupled(state, coupling, step);
        }
        self.prepare(state);
        let mut core = state.take_core();
        let batches = Batches { lanes: self.instructions.lanes(), partition: state.target().row_blocks() };

        let swept: Vec<Swept> = core
            .pieces_mut(batches.rows())
            .map(|((b, piece), core)| {
                let panel = &self.panels[b];
                let mut sum = Swept::default();
                let mut rest = core;
                for blocks in batches.runs(piece) {
                    let batch = Batch { state, step, b, blocks, panel };
                    let (core, after) = rest.split_at(batch.groups(), state.target().pattern());
                    rest = after;
                    sum = sum.and(batch.sweep(self.instructions, &self.left_grams, core));
                }
                sum
            })
            .collect();
        let total = swept.into_iter().fold(Swept::default(), Swept::and);
        self.times = total.times;
        let energy = state.target().energy();
        state.put_core(core, loss_after(total.loss, total.change, energy));
    }

    /// Computes P_a = AᵀA for every block of the left wrapper, and Q_b and its tables for every panel.
    fn prepare(&mut self, state: &State<'_>) {
        self.prepare_left(state);
        self.panels.par_iter_mut().enumerate().for_each(|(b, panel)| {
            let q = state.right().partition().size(b);
            let block = rows_of(state.right().values(b), q);
            panel.gram.resize(q * q, 0.0);
            set_product(&mut panel.gram, block, block.transpose());
            panel.tables.prepare(&panel.gram, q, RIDGE);
        });
    }

    /// Computes P_a = AᵀA, and makes room for the panels.
    pub(super) fn prepare_left(&mut self, state: &State<'_>) {
        let left = state.left();
        let p = left.block_size();
        let pattern = state.target().pattern();
        if self.panels.first().is_some_and(|panel| panel.tables.pattern() != pattern) {
            self.panels.clear();
        }
        self.panels
            .resize_with(state.right().blocks(), || Panel { gram: Vec::new(), tables: GroupTables::new(pattern) });
        self.left_grams.resize(left.data().len(), 0.0);
        self.left_grams.par_chunks_mut(p * p).enumerate().for_each(|(a, gram)| {
            let block = rows_of(left.values(a), left.partition().size(a));
            set_product(gram, block.transpose(), block);
        });
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
            times: SweepTimes {
                gradient: self.times.gradient + other.times.gradient,
                sweep: self.times.sweep + other.times.sweep,
            },
        }
    }
}

/// How the block rows of a panel are cut into batches of as many as there are lanes.
#[derive(Clone, Copy)]
pub(super) struct Batches {
    pub lanes: usize,
    pub partition: Partition,
}

impl Batches {
    pub fn rows(self) -> usize {
        self.lanes * self.partition.block
    }

    /// The batch's blocks in runs of equal size: a smaller last block cannot share lanes with the others.
    pub fn runs(self, batch: usize) -> impl Iterator<Item = Range<usize>> {
        let start = batch * self.lanes;
        let end = self.partition.count().min(start + self.lanes);
        let full = (self.partition.len / self.partition.block).clamp(start, end);
        [start..full, full..end].into_iter().filter(|blocks| !blocks.is_empty())
    }
}

/// Blocks of equal size in column panel `b`.
pub(super) struct Batch<'a> {
    pub state: &'a State<'a>,
    pub step: &'a Step,
    pub b: usize,
    pub blocks: Range<usize>,
    pub panel: &'a Panel,
}

impl Batch<'_> {
    fn shape(&self) -> Shape {
        let target = self.state.target();
        let (p, q) = (target.row_blocks().size(self.blocks.start), target.col_blocks().size(self.b));
        Shape { blocks: self.blocks.len(), p, q }
    }

    pub fn groups(&self) -> usize {
        let Shape { blocks, p, q } = self.shape();
        blocks * p * (q / self.state.target().pattern().m())
    }

    fn sweep(&self, instructions: InstructionSet, left_grams: &[f32], core: CoreRowsMut<'_>) -> Swept {
        let Shape { blocks, p, q } = self.shape();
        let size = p * q;
        let stacked = self.stack() * size;
        let lengths = [size, stacked, stacked, blocks * size, self.scratch()];
        with_scratch(lengths, |[dense, halves, residuals, gradients, scratch]| {
            let start = Instant::now();
            let loss = self.gradients(&core, [dense, halves, residuals], gradients);
            let gradient_done = Instant::now();
            let change = self.descend(instructions, left_grams, core, gradients, scratch);
            let times = SweepTimes { gradient: gradient_done - start, sweep: gradient_done.elapsed() };
            Swept { loss, change, times }
        })
    }

    /// Length of the scratch memory that [`Batch::descend`] takes.
    pub fn scratch(&self) -> usize {
        Strip::scratch(self.state.target().pattern(), self.shape().q) + self.groups()
    }

    /// Solves every group of the blocks once, given half the loss's gradient in them, [block][p × q], which is
    /// overwritten; says how the loss changed.
    pub fn descend(
        &self,
        instructions: InstructionSet,
        left_grams: &[f32],
        mut core: CoreRowsMut<'_>,
        gradients: &mut [f32],
        scratch: &mut [f32],
    ) -> Change {
        let (pattern, block) = (self.state.target().pattern(), self.state.target().row_blocks().block);
        let shape @ Shape { blocks, p, q } = self.shape();
        let size = p * q;
        let left_grams = &left_grams[self.blocks.start * block * block..][..blocks * p * p];
        // The uniform numbers come last: the strip's own part begins at the start of a cache line.
        let (scratch, uniforms) = scratch.split_at_mut(Strip::scratch(pattern, q));
        let noise = (self.step.temperature > 0.0).then(|| {
            for (a, uniforms) in self.blocks.clone().zip(uniforms.chunks_exact_mut(self.groups() / blocks)) {
                BlockNoise::new(self.step, a, self.b).fill(uniforms);
            }
            (self.step.temperature, &*uniforms)
        });
        let mut change = Change::default();
        for start in (0..p).step_by(STRIP) {
            let rows = start..p.min(start + STRIP);
            for (gradient, gram) in gradients.chunks_exact_mut(size).zip(left_grams.chunks_exact(p * p)) {
                // Rows above hold their change ΔS Q by now: carry it to the strip.
                let (above, strip) = gradient.split_at_mut(start * q);
                let coupling = part_of(&gram[start * p..], rows.len(), start, p);
                add_product(&mut strip[..rows.len() * q], coupling, rows_of(above, q));
            }
            let strip_change = instructions.dispatch(
                blocks,
                Strip {
                    tables: &self.panel.tables,
                    pattern,
                    shape,
                    rows,
                    gradients,
                    left_grams,
                    right_gram: &self.panel.gram,
                    core: core.reborrow(),
                    noise,
                    scratch,
                },
            );
            change = change.and(strip_change);
        }
        change
    }

    /// Blocks that are stacked up for one product: enough rows for the product to be efficient, few enough for the
    /// second-level cache.
    fn stack(&self) -> usize {
        const ROWS: usize = 512;
        let Shape { blocks, p, .. } = self.shape();
        (ROWS / p).clamp(1, blocks)
    }

    /// Fills half the gradient of every block, Aᵀ E B̃ᵀ with the residual E, and returns the blocks' loss.
    fn gradients(&self, core: &CoreRowsMut<'_>, work: [&mut [f32]; 3], gradients: &mut [f32]) -> f64 {
        let (state, pattern, Shape { p, q, .. }) = (self.state, self.state.target().pattern(), self.shape());
        let [dense, halves, residuals] = work;
        let (size, groups) = (p * q, p * q / pattern.m());
        let right = rows_of(state.right().values(self.b), q);
        let mut loss = 0.0;
        for (index, gradients) in gradients.chunks_mut(self.stack() * size).enumerate() {
            let first = index * self.stack();
            let blocks = self.blocks.start + first..self.blocks.start + first + gradients.len() / size;
            let (halves, residuals) = (&mut halves[..gradients.len()], &mut residuals[..gradients.len()]);
            let product = match state.left_product(blocks.clone(), self.b) {
                Some(product) => product,
                None => {
                    for ((block, a), half) in (first..).zip(blocks.clone()).zip(halves.chunks_exact_mut(size)) {
                        let masks = &core.masks[block * groups..(block + 1) * groups];
                        let values = &core.values[block * groups * pattern.n()..(block + 1) * groups * pattern.n()];
                        expand_groups(pattern, masks, values, dense);
                        state.multiply_left(a, dense, half);
                    }
                    &*halves
                }
            };
            loss += state.residual(blocks.clone(), self.b, product, residuals);
            for (a, (half, residual)) in blocks.zip(halves.chunks_exact_mut(size).zip(residuals.chunks_exact(size))) {
                set_product(half, rows_of(state.left().values(a), p).transpose(), rows_of(residual, q));
            }
            set_product(gradients, rows_of(halves, q), right.transpose());
        }
        loss
    }
}
