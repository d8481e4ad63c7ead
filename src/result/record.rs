//! How a run went.

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// All iterations were done.
    Iterations,
    /// The loss stopped falling: no progress for the options' patience.
    Converged,
    /// The time budget was used up.
    TimeBudget,
    /// The observer asked for it; the result is the best state so far.
    Cancelled,
}

impl StopReason {
    /// A lower-case word for reports: `iterations`, `converged`, `time_budget` or `cancelled`.
    pub fn as_str(self) -> &'static str {
        match self {
            StopReason::Iterations => "iterations",
            StopReason::Converged => "converged",
            StopReason::TimeBudget => "time_budget",
            StopReason::Cancelled => "cancelled",
        }
    }
}

/// How a run went: all of a result but the factors, their losses and the time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RunRecord {
    pub ridge: f64,
    pub history: Vec<f64>,
    pub stop_reason: StopReason,
}
