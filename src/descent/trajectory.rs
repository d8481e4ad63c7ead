//! What a run keeps from one iteration to the next: extrapolation, roll-back of a rise or a NaN, and the best state.

use std::time::Instant;

use crate::descent::annealing::temperature;
use crate::descent::core_update::update::CoreUpdate;
use crate::descent::options::Options;
use crate::descent::progress::{Phase, Progress};
use crate::descent::step::Step;
use crate::descent::wrapper_update::update::WrapperUpdate;
use crate::factors::triple::Factors;
use crate::problem::state::State;

/// What the loop does around the updates, as they and the options allow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy {
    /// An iteration at temperature 0 that raised the loss is taken back.
    takes_back_rises: bool,
    /// Largest extrapolation; 0 is none.
    max_extrapolation: f64,
    /// Masks are drawn at a temperature.
    anneals: bool,
}

impl Policy {
    /// The policy that both updates allow.
    pub fn of(options: &Options, wrapper: &dyn WrapperUpdate, core: &dyn CoreUpdate) -> Self {
        let extrapolates = wrapper.allows_extrapolation() && core.allows_extrapolation();
        Policy {
            takes_back_rises: wrapper.is_monotone() && core.is_monotone(),
            max_extrapolation: if extrapolates { options.max_extrapolation } else { 0.0 },
            anneals: core.anneals() && options.temperature > 0.0,
        }
    }
}

/// The state of a run, and how it got there.
pub(super) struct Trajectory<'t> {
    options: Options,
    policy: Policy,
    pub state: State<'t>,
    /// The factors before the iteration under way, before they were extrapolated.
    previous: Factors,
    /// The factors of lowest loss, unless the state itself holds them.
    best: Factors,
    best_is_current: bool,
    best_loss: f64,
    /// Absolute loss after the last iteration.
    loss: f64,
    beta: f64,
    /// Iterations since the loss last fell by more than the tolerance, and the loss it fell to.
    pub stalled: usize,
    reached: f64,
    history: Vec<f64>,
    start: Instant,
}

impl<'t> Trajectory<'t> {
    pub fn new(options: &Options, policy: Policy, mut state: State<'t>, start: Instant) -> Self {
        let loss = state.loss();
        Trajectory {
            options: options.clone(),
            policy,
            previous: state.factors().clone(),
            best: state.factors().clone(),
            best_is_current: true,
            best_loss: loss,
            history: vec![state.target().relative(loss)],
            state,
            loss,
            beta: 0.0,
            stalled: 0,
            reached: f64::INFINITY,
            start,
        }
    }

    /// Temperature at the start of an iteration, in the units of the absolute loss of one group.
    fn temperature(&self, iteration: usize) -> f64 {
        if !self.policy.anneals {
            return 0.0;
        }
        let core = self.state.core();
        let tau = temperature(&self.options, iteration, self.start.elapsed().as_secs_f64());
        tau * self.loss / (core.rows() * core.groups()) as f64
    }

    /// Extrapolates, and says where the iteration stands.
    pub fn begin(&mut self, iteration: usize) -> Step {
        let step = Step::new(iteration, self.options.seed, self.temperature(iteration));
        if iteration > 1 && self.policy.max_extrapolation > 0.0 {
            self.beta = self.policy.max_extrapolation.min(1.05 * self.beta + 0.02);
            self.state.factors_mut().extrapolate(&mut self.previous, self.beta);
        } else {
            self.previous.copy_from(self.state.factors());
        }
        step
    }

    /// Whether a greedy, extrapolated iteration ended above where it began.
    pub fn overshot(&mut self, step: &Step) -> bool {
        step.temperature == 0.0 && self.policy.max_extrapolation > 0.0 && !(self.state.loss() <= self.loss)
    }

    /// Goes back to the state before the iteration, for a plain step.
    pub fn retreat(&mut self, iteration: usize) -> Step {
        self.beta /= 2.0;
        self.state.factors_mut().copy_from(&self.previous);
        Step::new(iteration, self.options.seed, 0.0)
    }

    /// Takes stock after an iteration.
    pub fn end(&mut self, step: &Step) -> Progress {
        let loss = self.state.loss();
        let rises = step.temperature == 0.0 && self.policy.takes_back_rises && !(loss <= self.loss);
        if rises || !loss.is_finite() {
            // A plain step of monotone updates rises by rounding alone: the descent has reached its floor. Only a
            // caller's own update produces NaN, which no later step could leave: the iteration is taken back.
            self.state.factors_mut().copy_from(&self.previous);
        } else {
            self.loss = loss;
            self.remember_best();
        }
        self.history.push(self.state.target().relative(self.loss));
        if step.temperature > 0.0 || self.loss < self.reached * (1.0 - self.options.tolerance) {
            self.stalled = 0;
            self.reached = self.loss;
        } else {
            self.stalled += 1;
        }
        Progress {
            iteration: step.iteration,
            iterations: self.options.iterations,
            loss: self.state.target().relative(self.loss),
            best_loss: self.state.target().relative(self.best_loss),
            phase: if step.temperature > 0.0 { Phase::Annealing } else { Phase::Descending },
            elapsed: self.start.elapsed(),
        }
    }

    /// Copies the factors of lowest loss only once the state has left them behind: they are the previous ones then.
    fn remember_best(&mut self) {
        if self.loss < self.best_loss {
            self.best_loss = self.loss;
            self.best_is_current = true;
        } else if self.best_is_current {
            self.best.copy_from(&self.previous);
            self.best_is_current = false;
        }
    }

    pub fn finish(self) -> (Factors, Vec<f64>) {
        let best = if self.best_is_current { self.state.into_factors() } else { self.best };
        (best, self.history)
    }
}
