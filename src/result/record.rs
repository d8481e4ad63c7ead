//! The record of a run.

/// The reason why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// All iterations were done.
    Iterations,
    /// The loss stopped falling: no progress for the options' patience.
    Converged,
    /// The time budget was used up.
    TimeBudget,
    /// The observer cancelled the run; the result is the best state until then.
    Cancelled,
}

impl StopReason {
    /// Returns the reason as a lower-case word for reports: `iterations`, `converged`, `time_budget` or `cancelled`.
    pub fn as_str(self) -> &'static str {
        match self {
            StopReason::Iterations => "iterations",
            StopReason::Converged => "converged",
            StopReason::TimeBudget => "time_budget",
            StopReason::Cancelled => "cancelled",
        }
    }
}

/// The record of a run: everything in a result except the factors, their losses and the time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RunRecord {
    pub ridge: f64,
    pub dead_inputs: usize,
    pub history: Vec<f64>,
    pub stop_reason: StopReason,
}
