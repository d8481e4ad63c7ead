//! The exact core update: one Gauss–Seidel sweep over every group of every block, mask and values together.

use pulp::Arch;
use rayon::prelude::*;

use super::groups::{GroupTables, Ridge};
use super::noise::BlockNoise;
use super::strip::{LANES, Strip};
use crate::linalg::{add_product, part_of, rows_of, set_product};
use crate::mask::{MaskSelector, loss_after};
use crate::scratch::with_scratch;
use crate::sparse_core::CoreRowsMut;
use crate::{Error, State, Step};

/// Solves every group exactly once, keeping the best of all masks: the loss never rises.
#[derive(Clone, Debug, Default)]
pub struct ExactSweep {
    left_grams: Vec<f32>,
}

/// As [`ExactSweep`], but draws the mask with probability ∝ exp(gain / T) at the step's temperature T.
///
/// The values are exact for the drawn mask. At T = 0 it is the exact sweep.
#[derive(Clone, Debug, Default)]
pub struct AnnealedSweep(ExactSweep);

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

/// Rows that are swept between two products with the rows below.
const STRIP: usize = 16;

/// Ridge of the group solves: the square root of f32's precision would bias values, this only breaks ties.
const RIDGE: Ridge = Ridge { relative: 1e-6, absolute: 0.0 };

impl ExactSweep {
    fn sweep(&mut self, state: &mut State<'_>, step: &Step) {
        self.prepare(state);
        let mut core = state.take_core();
        let batch = Batches::new(state);
        let losses: Vec<(f64, f64)> = core
            .pieces_mut(batch.rows())
            .map(|((b, piece), rows)| sweep_batch(state, step, &self.left_grams, b, batch.blocks(piece), rows))
            .collect();
        state.put_core(core, loss_after(&losses));
    }

    /// Computes P_a = AᵀA for every block of the left wrapper.
    fn prepare(&mut self, state: &State<'_>) {
        let left = state.left();
        let p = left.block_size();
        self.left_grams.resize(left.data().len(), 0.0);
        self.left_grams.par_chunks_mut(p * p).enumerate().for_each(|(a, gram)| {
            let size = left.partition().size(a);
            let block = rows_of(left.values(a), size);
            set_product(gram, block.transpose(), block);
        });
    }
}

/// How the block rows of a panel are cut into batches of equal blocks, as even as can be.
#[derive(Clone, Copy)]
struct Batches {
    per_batch: usize,
    count: usize,
    height: usize,
}

impl Batches {
    fn new(state: &State<'_>) -> Self {
        let blocks = state.target().row_blocks();
        let count = blocks.count();
        Batches { per_batch: count.div_ceil(count.div_ceil(LANES)), count, height: blocks.block }
    }

    fn rows(self) -> usize {
        self.per_batch * self.height
    }

    fn blocks(self, piece: usize) -> std::ops::Range<usize> {
        let start = piece * self.per_batch;
        start..self.count.min(start + self.per_batch)
    }
}

/// Sweeps the blocks `blocks` of panel `b`; returns their loss before and its change.
fn sweep_batch(
    state: &State<'_>,
    step: &Step,
    left_grams: &[f32],
    b: usize,
    blocks: std::ops::Range<usize>,
    core: CoreRowsMut<'_>,
) -> (f64, f64) {
    let target = state.target();
    let (pattern, rows) = (target.pattern(), target.row_blocks());
    let q = target.col_blocks().size(b);
    let full = rows.block;
    // A smaller last block cannot share lanes with the others.
    let equal = blocks.clone().filter(|&a| rows.size(a) == full).count();
    let mut tables = GroupTables::new(pattern);
    let groups = q / pattern.m();
    let CoreRowsMut { mut values, mut masks } = core;
    let (mut loss, mut change) = (0.0, 0.0);
    let lanes = blocks.len();
    with_scratch(
        [q * q, full * q, full * q, full * q, lanes * full * q, lanes * STRIP * q, lanes * full * groups],
        |[right_gram, dense, product, residual, gradients, changes, uniforms]| {
            let right = rows_of(state.right().values(b), q);
            set_product(right_gram, right, right.transpose());
            tables.prepare(right_gram, q, RIDGE);
            for run in [blocks.start..blocks.start + equal, blocks.start + equal..blocks.end] {
                if run.is_empty() {
                    continue;
                }
                let p = rows.size(run.start);
                let size = p * q;
                let (run_values, rest) = values.split_at_mut(run.len() * p * groups * pattern.n());
                values = rest;
                let (run_masks, rest) = masks.split_at_mut(run.len() * p * groups);
                masks = rest;
                for (lane, a) in run.clone().enumerate() {
                    let range = lane * p * groups..(lane + 1) * p * groups;
                    let kept = range.start * pattern.n()..range.end * pattern.n();
                    crate::sparse_core::expand_groups(
                        pattern,
                        &run_masks[range],
                        &run_values[kept],
                        &mut dense[..size],
                    );
                    let residual = &mut residual[..size];
                    loss += state.residual(a, b, &dense[..size], &mut product[..size], residual);
                    let gradient = &mut gradients[lane * size..(lane + 1) * size];
                    state.core_gradient(a, b, residual, &mut dense[..size], gradient);
                }
                let noise = (step.temperature > 0.0).then(|| {
                    for (lane, a) in run.clone().enumerate() {
                        let range = lane * p * groups..(lane + 1) * p * groups;
                        BlockNoise::new(step, a, b).fill(&mut uniforms[range]);
                    }
                    (step.temperature, &*uniforms)
                });
                let grams = &left_grams[run.start * full * full..][..run.len() * p * p];
                for start in (0..p).step_by(STRIP) {
                    let end = p.min(start + STRIP);
                    change += Arch::new().dispatch(Strip {
                        tables: &tables,
                        pattern: (pattern.n(), pattern.m()),
                        shape: (run.len(), p, q),
                        rows: (start, end),
                        gradients,
                        left_grams: grams,
                        right_gram,
                        core: CoreRowsMut { values: run_values, masks: run_masks },
                        noise,
                        changes,
                    });
                    if end == p {
                        break;
                    }
                    for lane in 0..run.len() {
                        let coupling = part_of(
                            &grams[lane * p * p + end * p + start..(lane + 1) * p * p],
                            p - end,
                            end - start,
                            p,
                        );
                        let moved = &changes[lane * (end - start) * q..(lane + 1) * (end - start) * q];
                        let below = &mut gradients[lane * size + end * q..(lane + 1) * size];
                        add_product(below, coupling, rows_of(moved, q));
                    }
                }
            }
        },
    );
    (loss, change)
}
