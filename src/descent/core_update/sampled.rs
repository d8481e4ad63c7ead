//! The paper's core update (section 3.3): in every block one group, drawn by its gradient, solved exactly.

use rayon::prelude::*;

use crate::descent::core_update::group_tables::{GroupTables, Ridge};
use crate::descent::core_update::noise::BlockNoise;
use crate::descent::core_update::tracked_loss::{Change, loss_after};
use crate::descent::core_update::update::CoreUpdate;
use crate::descent::step::Step;
use crate::error::BoxError;
use crate::factors::groups::{columns, expand_groups};
use crate::factors::sparse_core::CoreRowsMut;
use crate::kernels::linalg::{rows_of, set_product};
use crate::kernels::scratch::with_scratch;
use crate::problem::state::State;
use crate::problem::wrappers::Wrappers;

/// Draws one group in every block with probability ∝ the 1-norm of the gradient of its M entries, masked-out ones
/// included, and solves it exactly over all masks.
///
/// It works with separable losses only: an update returns [`Error::Coupled`](crate::Error::Coupled) for any other.
#[derive(Clone, Copy, Debug, Default)]
pub struct SampledGroup;

/// The paper adds this to the diagonal of every Q_mm.
const RIDGE: Ridge = Ridge { relative: 0.0, absolute: 1e-9 };

impl CoreUpdate for SampledGroup {
    fn update(&mut self, state: &mut State<'_>, step: &Step) -> Result<(), BoxError> {
        let target = state.target();
        target.check_separable("SampledGroup")?;
        let (core, wrappers) = state.split_core();
        let losses: Vec<(f64, f64)> = core
            .pieces_mut(target.row_blocks().block)
            .map(|((b, a), rows)| update_block(wrappers, step, a, b, rows))
            .collect();
        let loss = losses.iter().map(|block| block.0).sum();
        let change =
            losses.iter().fold(Change::default(), |sum, block| sum.and(Change { sum: block.1, terms: block.1.abs() }));
        if let Some(loss) = loss_after(loss, change, target.energy()) {
            state.report_loss(loss);
        }
        Ok(())
    }

    fn is_monotone(&self) -> bool {
        true
    }
}

/// Solves one drawn group of block (a, b); returns the block's loss before and its change.
fn update_block(wrappers: Wrappers<'_>, step: &Step, a: usize, b: usize, core: CoreRowsMut<'_>) -> (f64, f64) {
    let target = wrappers.target;
    let pattern = target.pattern();
    let (p, q) = (target.row_blocks().size(a), target.col_blocks().size(b));
    let size = p * q;
    with_scratch([size; 4], |[dense, product, residual, gradient]| {
        expand_groups(pattern, core.masks, core.values, dense);
        wrappers.multiply_left(a, dense, product);
        let loss = wrappers.residual(a..a + 1, b, product, residual);
        wrappers.core_gradient(a, b, residual, product, gradient);
        let draw = BlockNoise::new(step, a, b).uniform();
        let index = draw_group(gradient, pattern.m(), draw);
        let group = GroupProblem::new(wrappers, a, b, index / (q / pattern.m()), index % (q / pattern.m()));
        let start = index * pattern.m();
        let range = start..start + pattern.m();
        let (mask, values, change) = group.solve(&dense[range.clone()], &gradient[range]);
        if change >= 0.0 {
            return (loss, 0.0);
        }
        core.masks[index] = mask;
        for (slot, column) in columns(mask).enumerate() {
            core.values[index * pattern.n() + slot] = values[column] as f32;
        }
        (loss, change)
    })
}

/// Index of the group whose share of Σ |gradient| covers `draw`, uniform on [0, 1).
fn draw_group(gradient: &[f32], m: usize, draw: f32) -> usize {
    let norm = |group: &[f32]| group.iter().map(|g| f64::from(g.abs())).sum::<f64>();
    let total: f64 = gradient.chunks_exact(m).map(norm).sum();
    let mut rest = f64::from(draw) * total;
    for (index, group) in gradient.chunks_exact(m).enumerate() {
        rest -= norm(group);
        if rest < 0.0 {
            return index;
        }
    }
    gradient.len() / m - 1
}

/// The least-squares problem of one group.
struct GroupProblem {
    tables: GroupTables,
    curvature: f64,
    n: usize,
    m: usize,
}

impl GroupProblem {
    fn new(wrappers: Wrappers<'_>, a: usize, b: usize, row: usize, group: usize) -> Self {
        let pattern = wrappers.target.pattern();
        let (n, m) = (pattern.n(), pattern.m());
        let p = wrappers.target.row_blocks().size(a);
        let q = wrappers.target.col_blocks().size(b);
        let column = wrappers.left.values(a).iter().skip(row).step_by(p);
        let curvature = column.map(|&x| f64::from(x).powi(2)).sum();
        let rows = rows_of(&wrappers.right.values(b)[group * m * q..(group + 1) * m * q], q);
        let mut gram = [0.0; 64];
        set_product(&mut gram[..m * m], rows, rows.transpose());
        let mut tables = GroupTables::new(pattern);
        tables.prepare(&gram[..m * m], m, RIDGE);
        GroupProblem { tables, curvature, n, m }
    }

    /// Best mask, its values by column, and the change of the loss, for the group's old values and half gradient.
    fn solve(&self, old: &[f32], gradient: &[f32]) -> (u8, [f64; 8], f64) {
        let (n, m) = (self.n, self.m);
        let gram = self.tables.gram(0);
        let times_gram =
            |x: &dyn Fn(usize) -> f64, i: usize| -> f64 { (0..m).map(|j| f64::from(gram[i * m + j]) * x(j)).sum() };
        let h: [f64; 8] = std::array::from_fn(|i| {
            if i < m { self.curvature * times_gram(&|j| f64::from(old[j]), i) - f64::from(gradient[i]) } else { 0.0 }
        });
        let mut best = (0, [0.0; 8], f64::NEG_INFINITY);
        for (index, &mask) in self.tables.masks().iter().enumerate() {
            let members = self.tables.members(index);
            let inverse = &self.tables.inverses(0)[index * n * n..(index + 1) * n * n];
            let mut values = [0.0; 8];
            let mut gain = 0.0;
            for (i, &column) in members.iter().enumerate() {
                let sum: f64 = (0..n).map(|j| f64::from(inverse[i * n + j]) * h[members[j]]).sum();
                values[column] = if self.curvature > 0.0 { sum / self.curvature } else { 0.0 };
                gain += values[column] * h[column];
            }
            if gain > best.2 {
                best = (mask, values, gain);
            }
        }
        let (mask, values, _) = best;
        let step = |j: usize| values[j] - f64::from(old[j]);
        let change =
            (0..m).map(|i| step(i) * (self.curvature * times_gram(&step, i) + 2.0 * f64::from(gradient[i]))).sum();
        (mask, values, change)
    }
}
