//! Where in a run an update happens.

/// The iteration that an update belongs to, and what its random choices depend on.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Step {
    /// The iteration, from 1.
    pub iteration: usize,
    /// Seed of the run.
    pub seed: u64,
    /// Temperature of the core update, in the units of the absolute loss of one group; 0 is greedy.
    pub temperature: f64,
}

impl Step {
    /// Makes a step, for instance to test a part on a [`State`](crate::State) of its own.
    pub fn new(iteration: usize, seed: u64, temperature: f64) -> Self {
        Step { iteration, seed, temperature }
    }
}
