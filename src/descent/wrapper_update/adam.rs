//! The paper's continuous step (section 3.2): one joint Adam step on A, W' and B of the relative loss.

use rayon::prelude::*;

use crate::descent::step::Step;
use crate::descent::wrapper_update::update::WrapperUpdate;
use crate::error::BoxError;
use crate::kernels::linalg::{add_product, rows_of, set_product};
use crate::kernels::scratch::with_scratch;
use crate::problem::state::State;

/// One Adam step (β₁ 0.9, β₂ 0.999, ε 1e-8) on both wrappers and the core's kept values, from one gradient.
///
/// The step is made in the paper's coordinates: the relative loss, and B = B̃ diag(1/√d). It works with separable losses
/// only: an update returns [`Error::Coupled`](crate::Error::Coupled) for any other.
#[derive(Clone, Debug)]
pub struct JointAdam {
    rate: f64,
    steps: i32,
    left: Moments,
    right: Moments,
    /// Of the dense W'; entries outside the mask see no gradient.
    core: Moments,
    gradient_left: Vec<f32>,
    gradient_right: Vec<f32>,
    /// A S B̃ − Y by column panel.
    residual: Vec<f32>,
    /// Change of the kept values, in the core's own order.
    change: Vec<f32>,
}

const BETA_1: f64 = 0.9;
const BETA_2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// Running means of a gradient and of its square.
#[derive(Clone, Debug, Default)]
struct Moments {
    first: Vec<f32>,
    second: Vec<f32>,
}

impl Moments {
    fn resize(&mut self, len: usize) {
        self.first.resize(len, 0.0);
        self.second.resize(len, 0.0);
    }
}

/// Adam's constants at one step.
#[derive(Clone, Copy)]
struct Rule {
    /// Turns half a gradient of the absolute loss into the gradient of the relative one.
    scale: f32,
    rate: f32,
    second_correction: f32,
}

impl Rule {
    fn new(rate: f64, steps: i32, energy: f64) -> Self {
        Rule {
            scale: (2.0 / energy) as f32,
            rate: (rate / (1.0 - BETA_1.powi(steps))) as f32,
            second_correction: (1.0 / (1.0 - BETA_2.powi(steps))) as f32,
        }
    }

    /// Updates the moments with half a gradient and returns the step to subtract.
    fn step(self, half_gradient: f32, first: &mut f32, second: &mut f32) -> f32 {
        let gradient = half_gradient * self.scale;
        *first += (1.0 - BETA_1) as f32 * (gradient - *first);
        *second += (1.0 - BETA_2) as f32 * (gradient * gradient - *second);
        self.rate * *first / ((*second * self.second_correction).sqrt() + EPSILON as f32)
    }
}

impl JointAdam {
    /// Makes the update with learning rate `rate`; the paper's is 1e-4.
    pub fn new(rate: f64) -> Self {
        JointAdam {
            rate,
            steps: 0,
            left: Moments::default(),
            right: Moments::default(),
            core: Moments::default(),
            gradient_left: Vec::new(),
            gradient_right: Vec::new(),
            residual: Vec::new(),
            change: Vec::new(),
        }
    }

    /// Fits the buffers to the problem; zero moments on first use.
    fn fit(&mut self, state: &State<'_>) {
        let target = state.target();
        let entries = target.rows() * target.cols();
        self.left.resize(state.left().data().len());
        self.gradient_left.resize(state.left().data().len(), 0.0);
        self.right.resize(state.right().data().len());
        self.gradient_right.resize(state.right().data().len(), 0.0);
        self.core.resize(entries);
        self.residual.resize(entries, 0.0);
        self.change.resize(target.pattern().kept(entries), 0.0);
    }

    /// Fills the residual, the gradient of B̃ and the change of the core, panel by panel.
    fn panels(&mut self, state: &State<'_>, rule: Rule) {
        let target = state.target();
        let (rows, q) = (target.rows(), target.col_blocks().block);
        self.residual
            .par_chunks_mut(rows * q)
            .zip(self.core.first.par_chunks_mut(rows * q))
            .zip(self.core.second.par_chunks_mut(rows * q))
            .zip(self.change.par_chunks_mut(target.pattern().kept(rows * q)))
            .zip(self.gradient_right.par_chunks_mut(q * q))
            .enumerate()
            .for_each(|(b, ((((residual, first), second), change), gradient_right))| {
                panel(state, rule, b, PanelStep { residual, first, second, change, gradient_right });
            });
    }

    /// Fills the gradient of A from the residual: Σ_b E_ab T_abᵀ with T_ab = S_ab B̃_b.
    fn gradient_of_left(&mut self, state: &State<'_>) {
        let (rows, cols) = (state.target().row_blocks(), state.target().col_blocks());
        let residual = &self.residual;
        self.gradient_left.par_chunks_mut(rows.block * rows.block).enumerate().for_each(|(a, gradient)| {
            let size = rows.size(a) * cols.block;
            gradient.fill(0.0);
            with_scratch([size, size], |[dense, product]| {
                for b in 0..cols.count() {
                    let q = cols.size(b);
                    let (dense, product) = (&mut dense[..rows.size(a) * q], &mut product[..rows.size(a) * q]);
                    state.core().expand(b, rows.range(a), dense);
                    set_product(product, rows_of(dense, q), rows_of(state.right().values(b), q));
                    let start = cols.start(b) * rows.len + rows.start(a) * q;
                    let residual = &residual[start..start + rows.size(a) * q];
                    add_product(gradient, rows_of(residual, q), rows_of(product, q).transpose());
                }
            });
        });
    }
}

/// One column panel of the step's arrays.
struct PanelStep<'a> {
    residual: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    change: &'a mut [f32],
    gradient_right: &'a mut [f32],
}

fn panel(state: &State<'_>, rule: Rule, b: usize, panel: PanelStep<'_>) {
    let (target, wrappers) = (state.target(), state.wrappers());
    let (n, m) = (target.pattern().n(), target.pattern().m());
    let (rows, q) = (target.row_blocks(), target.col_blocks().size(b));
    let size = rows.block * q;
    panel.gradient_right.fill(0.0);
    with_scratch([size; 4], |[dense, product, half, gradient]| {
        for a in 0..rows.count() {
            let size = rows.size(a) * q;
            let range = rows.start(a) * q..rows.start(a) * q + size;
            let (product, residual) = (&mut product[..size], &mut panel.residual[range.clone()]);
            state.core().expand(b, rows.range(a), &mut dense[..size]);
            wrappers.multiply_left(a, &dense[..size], product);
            wrappers.residual(a..a + 1, b, product, residual);
            add_product(panel.gradient_right, rows_of(product, q).transpose(), rows_of(residual, q));
            wrappers.core_gradient(a, b, residual, &mut half[..size], &mut gradient[..size]);
            let core = state.core().panel_rows(b, rows.range(a));
            let groups = panel.change[range.start / m * n..range.end / m * n].chunks_exact_mut(n);
            for (index, (change, &mask)) in groups.zip(core.masks).enumerate() {
                let start = range.start + index * m;
                for j in 0..m {
                    let kept = mask >> j & 1 == 1;
                    let value = if kept { gradient[index * m + j] } else { 0.0 };
                    let step = rule.step(value, &mut panel.first[start + j], &mut panel.second[start + j]);
                    if kept {
                        change[(mask & ((1 << j) - 1)).count_ones() as usize] = step;
                    }
                }
            }
        }
    });
}

impl WrapperUpdate for JointAdam {
    fn update(&mut self, state: &mut State<'_>, _step: &Step) -> Result<(), BoxError> {
        state.target().check_separable("JointAdam")?;
        let target = state.target();
        if target.energy() == 0.0 {
            return Ok(());
        }
        self.steps = self.steps.saturating_add(1);
        let rule = Rule::new(self.rate, self.steps, target.energy());
        self.fit(state);
        self.panels(state, rule);
        self.gradient_of_left(state);

        let left = state.left_mut().data_mut().iter_mut().zip(&self.gradient_left);
        for ((value, &gradient), (first, second)) in left.zip(self.left.first.iter_mut().zip(&mut self.left.second)) {
            *value -= rule.step(gradient, first, second);
        }
        let cols = target.col_blocks();
        for (b, block) in state.right_mut().blocks_mut().enumerate() {
            let q = cols.size(b);
            let offset = b * cols.block * cols.block;
            for (index, value) in block.iter_mut().enumerate() {
                let root = target.roots()[cols.start(b) + index % q] as f32;
                let index = offset + index;
                let (first, second) = (&mut self.right.first[index], &mut self.right.second[index]);
                *value -= root * rule.step(root * self.gradient_right[index], first, second);
            }
        }
        for (value, change) in state.core_mut().values_mut().iter_mut().zip(&self.change) {
            *value -= change;
        }
        Ok(())
    }
}
