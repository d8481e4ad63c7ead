//! The exact core update: one Gauss–Seidel sweep over every group of every block, mask and values together.

use crate::descent::core_update::update::CoreUpdate;
use crate::descent::core_update::workspace::{SweepTimes, SweepWorkspace};
use crate::descent::core_update::{coupled, separable};
use crate::descent::step::Step;
use crate::error::BoxError;
use crate::kernels::instructions::InstructionSet;
use crate::problem::state::State;

/// Solves every group exactly once, keeping the best of all masks: the loss never rises.
///
/// With the other groups and both wrappers fixed, the loss of a group's values s in row r is P_rr sᵀ Q s − 2 hᵀ s + const,
/// P = AᵀA, Q = B̃ B̃ᵀ (or V Vᵀ where errors couple). The best values on a mask are s = Q_mm⁻¹ h_m / P_rr, and they
/// lower the loss by h_mᵀ Q_mm⁻¹ h_m / P_rr.
#[derive(Clone, Debug)]
pub struct ExactSweep {
    workspace: SweepWorkspace,
}

/// As [`ExactSweep`], but draws the mask with probability ∝ exp(gain / T) at the step's temperature T.
///
/// The values are exact for the drawn mask. At T = 0 it is the exact sweep.
#[derive(Clone, Debug, Default)]
pub struct AnnealedSweep(ExactSweep);

impl ExactSweep {
    /// Makes a sweep that runs on these instructions, or on the best ones where the CPU lacks them. Default: the best.
    pub fn on(instructions: InstructionSet) -> Self {
        ExactSweep { workspace: SweepWorkspace::new(instructions.or_best()) }
    }

    /// Time of the last update by its parts, for benches.
    #[doc(hidden)]
    pub fn times(&self) -> SweepTimes {
        self.workspace.times
    }

    fn sweep(&mut self, state: &mut State<'_>, step: &Step) {
        match state.target().coupling() {
            Some(coupling) => coupled::sweep(&mut self.workspace, state, coupling, step),
            None => separable::sweep(&mut self.workspace, state, step),
        }
    }
}

impl Default for ExactSweep {
    fn default() -> Self {
        Self::on(InstructionSet::best())
    }
}

impl AnnealedSweep {
    /// As [`ExactSweep::on`].
    pub fn on(instructions: InstructionSet) -> Self {
        AnnealedSweep(ExactSweep::on(instructions))
    }

    /// As [`ExactSweep::times`].
    #[doc(hidden)]
    pub fn times(&self) -> SweepTimes {
        self.0.times()
    }
}

impl CoreUpdate for ExactSweep {
    fn update(&mut self, state: &mut State<'_>, step: &Step) -> Result<(), BoxError> {
        self.sweep(state, &Step { temperature: 0.0, ..*step });
        Ok(())
    }

    fn is_monotone(&self) -> bool {
        true
    }

    fn allows_extrapolation(&self) -> bool {
        true
    }
}

impl CoreUpdate for AnnealedSweep {
    fn update(&mut self, state: &mut State<'_>, step: &Step) -> Result<(), BoxError> {
        self.0.sweep(state, step);
        Ok(())
    }

    fn is_monotone(&self) -> bool {
        true
    }

    fn allows_extrapolation(&self) -> bool {
        true
    }

    fn anneals(&self) -> bool {
        true
    }
}
