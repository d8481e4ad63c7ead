//! What an observer of a run receives.

use std::time::Duration;

/// What part of a run an iteration belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Masks are drawn at a temperature above zero: the loss may rise.
    Annealing,
    /// Every step takes the best it can find.
    Descending,
}

/// What the observer is told after every iteration.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// The iteration that has just ended, from 1.
    pub iteration: usize,
    /// Most iterations of the run.
    pub iterations: usize,
    /// Relative proxy loss after it.
    pub loss: f64,
    /// Lowest relative proxy loss of the starting point and of all iterations so far.
    pub best_loss: f64,
    /// What part of the run it belongs to.
    pub phase: Phase,
    /// Time since the run began.
    pub elapsed: Duration,
}
