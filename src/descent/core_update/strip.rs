//! The inner kernel of a sweep: every group of a strip of rows, for several blocks that share one right wrapper.
//!
//! Blocks are lanes. A row of all blocks is turned into vectors, one for each column, that hold that column's entry in
//! every block; the groups are then solved for all blocks at once, and what a group changes in its row is M vector
//! products a column. Nothing is added up across lanes, so the number of lanes does not show in the result.

use std::f64::consts::LOG2_E;
use std::ops::Range;

use crate::descent::core_update::group_solve::{
    AnyPattern, Draw, GroupLanes, GroupSolve, LaneProblem, Moved, TwoOfFour,
};
use crate::descent::core_update::group_tables::GroupTables;
use crate::descent::core_update::tracked_loss::Change;
use crate::factors::pattern::Pattern;
use crate::factors::sparse_core::CoreRowsMut;
use crate::kernels::instructions::Kernel;
use crate::kernels::lanes::Lanes;

/// Rows that are swept between two products with the rest of the block: enough for an efficient product, few enough
/// for their changes to stay in the second-level cache.
pub(super) const STRIP: usize = 16;

/// Most lanes of any instruction set.
const MOST_LANES: usize = 16;

/// A diagonal entry of AᵀA below this is a zero column of A: its row of S does not count, and stays.
const DEAD: f32 = 1e-30;

/// Blocks that are swept side by side: how many, their rows and columns.
#[derive(Clone, Copy)]
pub(super) struct BlockShape {
    pub blocks: usize,
    pub p: usize,
    pub q: usize,
}

/// A strip of rows in several blocks of one column panel.
pub(super) struct RowStrip<'a> {
    pub tables: &'a GroupTables,
    pub pattern: Pattern,
    pub shape: BlockShape,
    /// Rows of the strip within their block, at most [`STRIP`].
    pub rows: Range<usize>,
    /// [block][p × q]: half gradients in the strip's rows, which receive the rows of ΔS Q.
    pub gradients: &'a mut [f32],
    /// Gram matrices P = AᵀA, [block][p × p].
    pub left_grams: &'a [f32],
    /// Gram matrix Q = B̃ B̃ᵀ, q × q.
    pub right_gram: &'a [f32],
    /// Core of the blocks, one after the other.
    pub core: CoreRowsMut<'a>,
    /// Temperature and uniform numbers [block][row][group]; `None` keeps the best mask.
    pub noise: Option<(f64, &'a [f32])>,
    /// As many numbers as [`RowStrip::scratch`] says, of any value.
    pub scratch: &'a mut [f32],
}

impl RowStrip<'_> {
    /// Length of the scratch memory for blocks of `q` columns.
    pub fn scratch(pattern: Pattern, q: usize) -> usize {
        (q + STRIP * q + (pattern.n() + 2) * (q / pattern.m())) * MOST_LANES
    }
}

impl Kernel for RowStrip<'_> {
    type Output = Change;

    #[inline(always)]
    fn run<S: Lanes>(self, simd: S) -> Change {
        if self.pattern == Pattern::TWO_FOUR {
            self.sweep(simd, &TwoOfFour)
        } else {
            let tables = self.tables;
            self.sweep(simd, &AnyPattern(tables))
        }
    }
}

/// Vectors of one row, one number of every block in each.
struct RowVectors<'s, S: Lanes> {
    /// Gradient over P_rr at the start of the row, by column.
    gradient: &'s mut [S::f32s],
    /// ΔS Q of the strip's rows so far, by row, then column.
    changes: &'s mut [S::f32s],
    /// Kept values by group, then slot.
    values: &'s mut [S::f32s],
    masks: &'s mut [S::u32s],
    uniforms: &'s mut [S::f32s],
}

impl<'s, S: Lanes> RowVectors<'s, S> {
    /// Cuts scratch memory up, for `groups` groups of `n` kept values in `q` columns.
    #[inline(always)]
    fn cut(scratch: &'s mut [f32], n: usize, groups: usize, q: usize) -> Self {
        let (vectors, _) = S::as_mut_simd_f32s(scratch);
        let (gradient, vectors) = vectors.split_at_mut(q);
        let (changes, vectors) = vectors.split_at_mut(STRIP * q);
        let (values, vectors) = vectors.split_at_mut(n * groups);
        let (masks, vectors) = vectors.split_at_mut(groups);
        let masks = bytemuck::cast_slice_mut(masks);
        let (uniforms, _) = vectors.split_at_mut(groups);
        RowVectors { gradient, changes, values, masks, uniforms }
    }
}

/// What the groups of one row share.
struct RowProblem<'a, S: Lanes> {
    tables: &'a GroupTables,
    /// The pattern of `tables`, taken from the strip: the compiler knows its numbers there in the code for 2:4.
    pattern: Pattern,
    /// Q, q × q.
    right_gram: &'a [f32],
    /// 1 / P_rr; zero for lanes that stay.
    inverse: S::f32s,
    /// P_rr log₂(e) / T; `None` keeps the best mask.
    inverse_temperature: Option<S::f32s>,
}

impl RowStrip<'_> {
    #[inline(always)]
    fn sweep<S: Lanes, G: GroupSolve>(self, simd: S, solver: &G) -> Change {
        let RowStrip { tables, pattern, shape, rows, gradients, left_grams, right_gram, core, noise, scratch } = self;
        let BlockShape { blocks, p, q } = shape;
        assert!(blocks <= S::F32_LANES, "{blocks} blocks do not fit {} lanes", S::F32_LANES);
        let n = pattern.n();
        let groups = q / pattern.m();
        let work = RowVectors::<S>::cut(scratch, n, groups, q);
        let mut loss_change = Change::default();
        for row in rows.clone() {
            let done = row - rows.start;
            let curvature = diagonal(left_grams, shape, row, row);
            let inverse = curvature.map(|x| if x > DEAD { 1.0 / x } else { 0.0 });

            gather(simd, blocks, gradients, p * q, row * q, work.gradient);
            carry_in(simd, shape, left_grams, row, done, &inverse, work.gradient, work.changes);
            gather(simd, blocks, core.values, p * n * groups, row * n * groups, work.values);
            gather_masks::<S>(blocks, core.masks, p * groups, row * groups, work.masks);
            let mut inverse_temperature = None;
            if let Some((temperature, uniforms)) = noise {
                gather(simd, blocks, uniforms, p * groups, row * groups, work.uniforms);
                let over_temperature =
                    curvature.map(|x| (f64::from(x) / temperature * LOG2_E).min(f32::MAX.into()) as f32);
                inverse_temperature = Some(load(simd, &over_temperature));
            }

            let problem =
                RowProblem { tables, pattern, right_gram, inverse: load(simd, &inverse), inverse_temperature };
            let vectors = GroupVectors {
                gradient: &*work.gradient,
                change: &mut work.changes[done * q..(done + 1) * q],
                values: &mut *work.values,
                masks: &mut *work.masks,
                uniforms: &*work.uniforms,
            };
            let row_change = solve_groups(simd, solver, &problem, vectors);

            scatter(simd, blocks, &work.changes[done * q..(done + 1) * q], gradients, p * q, row * q);
            scatter(simd, blocks, work.values, core.values, p * n * groups, row * n * groups);
            scatter_masks::<S>(blocks, work.masks, core.masks, p * groups, row * groups);
            let row_change: &[f32] = bytemuck::cast_slice(&row_change);
            for (block, &curvature) in curvature[..blocks].iter().enumerate() {
                let [sum, terms] = [row_change[block], row_change[S::F32_LANES + block]].map(f64::from);
                let curvature = f64::from(curvature);
                loss_change = loss_change.and(Change { sum: sum * curvature, terms: terms * curvature });
            }
        }
        loss_change
    }
}

/// Vectors of one row, as the solution of its groups reads and changes them.
struct GroupVectors<'s, S: Lanes> {
    gradient: &'s [S::f32s],
    /// The row of ΔS Q.
    change: &'s mut [S::f32s],
    values: &'s mut [S::f32s],
    masks: &'s mut [S::u32s],
    uniforms: &'s [S::f32s],
}

/// Solves the groups of one row in turn; returns the loss's change over P_rr, and the size of its terms.
#[inline(always)]
fn solve_groups<S: Lanes, G: GroupSolve>(
    simd: S,
    solver: &G,
    row: &RowProblem<'_, S>,
    vectors: GroupVectors<'_, S>,
) -> [S::f32s; 2] {
    let GroupVectors { gradient, change, values, masks, uniforms } = vectors;
    let (n, m, q) = (row.pattern.n(), row.pattern.m(), change.len());
    change.fill(simd.splat_f32s(0.0));
    let mut row_change = [simd.splat_f32s(0.0); 2];
    for group in 0..q / m {
        let mut current = [simd.splat_f32s(0.0); Pattern::MAX_M];
        for j in 0..m {
            current[j] = simd.add_f32s(gradient[group * m + j], change[group * m + j]);
        }
        let draw = match row.inverse_temperature {
            Some(inverse_temperature) => Some(Draw { inverse_temperature, uniform: uniforms[group] }),
            None => None,
        };
        let problem = LaneProblem {
            gram: row.tables.gram(group),
            inverses: row.tables.inverses(group),
            gradient: current,
            alive: simd.greater_than_f32s(row.inverse, simd.splat_f32s(0.0)),
            draw,
        };
        let mut state = GroupLanes { mask: masks[group], values: [simd.splat_f32s(0.0); Pattern::MAX_M] };
        state.values[..n].copy_from_slice(&values[group * n..(group + 1) * n]);
        let Moved { step, loss, terms } = solver.solve(simd, &problem, &mut state);
        masks[group] = state.mask;
        values[group * n..(group + 1) * n].copy_from_slice(&state.values[..n]);
        row_change[0] = simd.add_f32s(row_change[0], loss);
        row_change[1] = simd.add_f32s(row_change[1], terms);
        let gram_rows = &row.right_gram[group * m * q..(group + 1) * m * q];
        if m == 4 {
            add_outer(simd, &[step[0], step[1], step[2], step[3]], gram_rows, change);
        } else {
            for (step, gram_row) in step.iter().zip(gram_rows.chunks_exact(q)) {
                add_outer(simd, &[*step], gram_row, change);
            }
        }
    }
    row_change
}

/// Entry (row, col) of every block's left Gram matrix; zero for lanes without a block.
#[inline(always)]
fn diagonal(left_grams: &[f32], shape: BlockShape, row: usize, col: usize) -> [f32; MOST_LANES] {
    let BlockShape { blocks, p, .. } = shape;
    std::array::from_fn(|block| if block < blocks { left_grams[(block * p + row) * p + col] } else { 0.0 })
}

#[inline(always)]
fn load<S: Lanes>(simd: S, lanes: &[f32; MOST_LANES]) -> S::f32s {
    simd.partial_load_f32s(&lanes[..S::F32_LANES])
}

/// Columns that the two inner products hold in registers: half of those that the instruction set has, or fewer.
const WIDE: usize = 8;

/// gradient ← (gradient + Σ_r' P_rr' (ΔS Q)_r') / P_rr over the strip's rows r' that are done.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "a part of one loop, inlined into it")]
fn carry_in<S: Lanes>(
    simd: S,
    shape: BlockShape,
    left_grams: &[f32],
    row: usize,
    done: usize,
    inverse: &[f32; MOST_LANES],
    gradient: &mut [S::f32s],
    changes: &[S::f32s],
) {
    let q = shape.q;
    let inverses = load(simd, inverse);
    let mut coupling = [simd.splat_f32s(0.0); STRIP];
    for (before, coupling) in coupling[..done].iter_mut().enumerate() {
        let entries = diagonal(left_grams, shape, row, row - done + before);
        *coupling = simd.mul_f32s(load(simd, &entries), inverses);
    }
    let (tiles, tail) = gradient.as_chunks_mut::<WIDE>();
    let tail_start = tiles.len() * WIDE;
    for (tile, gradient) in tiles.iter_mut().enumerate() {
        let mut sums = *gradient;
        for sum in &mut sums {
            *sum = simd.mul_f32s(*sum, inverses);
        }
        for (before, &coupling) in coupling[..done].iter().enumerate() {
            let change = &changes[before * q + tile * WIDE..][..WIDE];
            for x in 0..WIDE {
                sums[x] = simd.fused(coupling, change[x], sums[x]);
            }
        }
        *gradient = sums;
    }
    for (column, gradient) in tail.iter_mut().enumerate() {
        let mut sum = simd.mul_f32s(*gradient, inverses);
        for (before, &coupling) in coupling[..done].iter().enumerate() {
            sum = simd.fused(coupling, changes[before * q + tail_start + column], sum);
        }
        *gradient = sum;
    }
}

/// change_c += Σ_j step_j rows_jc for the C rows of `rows`, each as long as `change`.
#[inline(always)]
fn add_outer<S: Lanes, const C: usize>(simd: S, step: &[S::f32s; C], rows: &[f32], change: &mut [S::f32s]) {
    let q = change.len();
    let (tiles, tail) = change.as_chunks_mut::<WIDE>();
    let tail_start = tiles.len() * WIDE;
    let mut row_tiles = [rows.as_chunks::<WIDE>().0; C];
    for j in 0..C {
        row_tiles[j] = &rows[j * q..(j + 1) * q].as_chunks::<WIDE>().0[..tiles.len()];
    }
    for (tile, change) in tiles.iter_mut().enumerate() {
        let mut sums = *change;
        for j in 0..C {
            for x in 0..WIDE {
                sums[x] = simd.fused(step[j], simd.splat_f32s(row_tiles[j][tile][x]), sums[x]);
            }
        }
        *change = sums;
    }
    for (column, change) in tail.iter_mut().enumerate() {
        for j in 0..C {
            *change = simd.fused(step[j], simd.splat_f32s(rows[j * q + tail_start + column]), *change);
        }
    }
}

/// Turns `out.len()` numbers of every block, at `offset` in blocks of `stride`, into vectors.
#[inline(always)]
fn gather<S: Lanes>(simd: S, blocks: usize, from: &[f32], stride: usize, offset: usize, out: &mut [S::f32s]) {
    let lanes = S::F32_LANES;
    let len = out.len();
    let full = len / lanes * lanes;
    for start in (0..full).step_by(lanes) {
        let tile = &mut out[start..start + lanes];
        for (block, row) in tile.iter_mut().enumerate() {
            *row = if block < blocks {
                S::as_simd_f32s(&from[block * stride + offset + start..][..lanes]).0[0]
            } else {
                simd.splat_f32s(0.0)
            };
        }
        simd.transpose(tile);
    }
    let tail: &mut [f32] = bytemuck::cast_slice_mut(&mut out[full..]);
    for block in 0..lanes {
        for x in full..len {
            tail[(x - full) * lanes + block] = if block < blocks { from[block * stride + offset + x] } else { 0.0 };
        }
    }
}

/// Writes vectors back where [`gather`] found them.
#[inline(always)]
fn scatter<S: Lanes>(simd: S, blocks: usize, from: &[S::f32s], to: &mut [f32], stride: usize, offset: usize) {
    let lanes = S::F32_LANES;
    let len = from.len();
    let full = len / lanes * lanes;
    let mut tile = [simd.splat_f32s(0.0); MOST_LANES];
    for start in (0..full).step_by(lanes) {
        tile[..lanes].copy_from_slice(&from[start..start + lanes]);
        simd.transpose(&mut tile[..lanes]);
        for (block, &row) in tile[..blocks].iter().enumerate() {
            S::as_mut_simd_f32s(&mut to[block * stride + offset + start..][..lanes]).0[0] = row;
        }
    }
    let tail: &[f32] = bytemuck::cast_slice(&from[full..]);
    for block in 0..blocks {
        for x in full..len {
            to[block * stride + offset + x] = tail[(x - full) * lanes + block];
        }
    }
}

#[inline(always)]
fn gather_masks<S: Lanes>(blocks: usize, from: &[u8], stride: usize, offset: usize, out: &mut [S::u32s]) {
    let (lanes, groups) = (S::F32_LANES, out.len());
    let out: &mut [u32] = bytemuck::cast_slice_mut(out);
    for block in 0..blocks {
        for (group, &mask) in from[block * stride + offset..][..groups].iter().enumerate() {
            out[group * lanes + block] = mask.into();
        }
    }
    for block in blocks..lanes {
        for group in 0..groups {
            out[group * lanes + block] = 0;
        }
    }
}

#[inline(always)]
fn scatter_masks<S: Lanes>(blocks: usize, from: &[S::u32s], to: &mut [u8], stride: usize, offset: usize) {
    let (lanes, groups) = (S::F32_LANES, from.len());
    let from: &[u32] = bytemuck::cast_slice(from);
    for block in 0..blocks {
        for (group, mask) in to[block * stride + offset..][..groups].iter_mut().enumerate() {
            *mask = from[group * lanes + block] as u8;
        }
    }
}
