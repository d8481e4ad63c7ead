//! The temperature of a run: how it starts, and how it cools.

use crate::descent::options::Options;

/// Share of the run after which the temperature is zero: the rest is enough to settle the values of the last masks.
const COOLED_AT: f64 = 0.9;

/// Shape of the cooling. Below 1 the run spends its time at middling temperatures, where masks are decided, and passes
/// quickly through low ones; measured on four layers at 60 and 120 iterations, better than 1, 1.5 and 2.
const COOLING_EXPONENT: f64 = 0.7;

/// Temperature of an iteration that begins `seconds` after the run did, in units of the mean loss of one group:
/// τ · max(0, 1 − progress / 0.9)^0.7. Progress is the share of the iterations, or of the time budget if that is larger.
pub(super) fn temperature(options: &Options, iteration: usize, seconds: f64) -> f64 {
    let spent = options.time_budget.map_or(0.0, |budget| seconds / budget.as_secs_f64());
    let progress = spent.max(iteration as f64 / options.iterations as f64);
    let cooling = (1.0 - progress / COOLED_AT).max(0.0).powf(COOLING_EXPONENT);
    options.temperature * cooling
}
