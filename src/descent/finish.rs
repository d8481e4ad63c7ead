//! From the best factors of a run to the result: scales folded in, the loss measured, and never above NoWag-P.

use std::time::Instant;

use crate::descent::mask_selector::scores::NoWagP;
use crate::descent::mask_selector::selector::MaskSelector;
use crate::error::Error;
use crate::factors::triple::Factors;
use crate::input::layer::Layer;
use crate::problem::coupling::Coupling;
use crate::problem::measure::{Energies, Replacement, energies};
use crate::problem::state::State;
use crate::problem::target::Target;
use crate::result::factorization::Factorization;
use crate::result::record::{RunRecord, StopReason};

/// A layer, the target that its loss made of it, and when its run began.
pub(super) struct Finish<'a, 'l> {
    pub layer: &'a Layer<'l>,
    pub target: &'a Target,
    pub start: Instant,
}

impl Finish<'_, '_> {
    /// Folds the scales into the wrappers of the best factors and measures them in f64 against the layer itself; returns
    /// NoWag-P where that is better.
    pub fn run(self, best: Factors, history: Vec<f64>, stop_reason: StopReason) -> Result<Factorization, Error> {
        let (baseline, nowag_p) = self.nowag_p()?;
        let (best, of_best) = self.fold_and_measure(best);
        let (factors, loss) = if of_best.lost <= nowag_p.lost { (best, of_best) } else { (baseline, nowag_p) };
        let record = self.record(history, stop_reason);
        Ok(Factorization::new(factors, (loss.ratio(), nowag_p.ratio()), record, self.start.elapsed()))
    }

    /// Does the same for pruned factors, which are kept whatever their loss is; the time is that of the selection alone.
    pub fn pruned(self, factors: Factors, history: Vec<f64>) -> Result<Factorization, Error> {
        let elapsed = self.start.elapsed();
        let (_, nowag_p) = self.nowag_p()?;
        let (factors, loss) = self.fold_and_measure(factors);
        let record = self.record(history, StopReason::Iterations);
        Ok(Factorization::new(factors, (loss.ratio(), nowag_p.ratio()), record, elapsed))
    }

    fn record(&self, history: Vec<f64>, stop_reason: StopReason) -> RunRecord {
        RunRecord {
            ridge: self.target.coupling().map_or(0.0, Coupling::ridge),
            dead_inputs: self.target.hessian().dead_inputs(),
            history,
            stop_reason,
        }
    }

    /// NoWag-P's factors of the caller's own weight, and their loss.
    fn nowag_p(&self) -> Result<(Factors, Energies), Error> {
        let mut baseline = State::new(self.target);
        NoWagP.select(&mut baseline).map_err(|error| Error::of_part("initial_mask", error))?;
        Ok(self.fold_and_measure(baseline.into_factors()))
    }

    /// Turns whitened factors into those of the caller's own weight, and measures their loss.
    fn fold_and_measure(&self, mut factors: Factors) -> (Factors, Energies) {
        self.target.fold(&mut factors.left, &mut factors.right);
        let loss = energies(&Replacement::Factors(&factors), self.layer, self.target);
        (factors, loss)
    }
}
