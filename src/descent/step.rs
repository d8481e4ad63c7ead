//! Where in a run an update happens.

/// Where in a run an update happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The iteration, from 1; 0 while the initial mask is selected.
    pub iteration: usize,
    /// Seed of the run.
    pub seed: u64,
    /// Temperature of the mask selection, in the units of the absolute loss of one group; 0 is greedy.
    pub temperature: f64,
}
