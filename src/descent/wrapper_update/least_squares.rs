//! The exact wrapper update: each block is the solution of its least-squares problem.

use rayon::prelude::*;

use crate::descent::step::Step;
use crate::descent::wrapper_update::coupled;
use crate::descent::wrapper_update::normal_equations::NormalEquations;
use crate::descent::wrapper_update::solution::write_solution;
use crate::descent::wrapper_update::update::WrapperUpdate;
use crate::error::BoxError;
use crate::kernels::linalg::Unknown;
use crate::kernels::scratch::with_scratch_f64;
use crate::problem::state::State;

/// Solves for A, then for B̃, each with the other two factors fixed: the loss never rises.
///
/// Where errors couple, the blocks of B̃ are no longer independent and are solved one after the other.
/// A proximal ridge of 10⁻⁶ of the mean diagonal towards the current block keeps rank-deficient problems solvable.
#[derive(Clone, Debug, Default)]
pub struct LeastSquares {
    equations: NormalEquations,
}

impl LeastSquares {
    /// Solves for A alone.
    pub fn update_left(&mut self, state: &mut State<'_>) {
        if let Some(coupling) = state.target().coupling() {
            return coupled::update_left(state, coupling);
        }
        self.equations.of_left(state);
        let blocks = state.left_mut().par_blocks_mut();
        blocks.enumerate().for_each(|(a, block)| self.solve(a, block, Unknown::LeftOfGram));
    }

    /// Solves for B̃ alone.
    pub fn update_right(&mut self, state: &mut State<'_>) {
        if let Some(coupling) = state.target().coupling() {
            return coupled::update_right(state, coupling);
        }
        self.equations.of_right(state);
        let blocks = state.right_mut().par_blocks_mut();
        blocks.enumerate().for_each(|(b, block)| self.solve(b, block, Unknown::RightOfGram));
    }

    fn solve(&self, index: usize, block: &mut [f32], side: Unknown) {
        let n = block.len().isqrt();
        with_scratch_f64([n * n; 5], |[gram, rhs, current, shifted, solution]| {
            self.equations.sum(index, n, gram, rhs);
            write_solution(block, gram, rhs, side, [current, shifted, solution]);
        });
    }
}

impl WrapperUpdate for LeastSquares {
    fn update(&mut self, state: &mut State<'_>, _step: &Step) -> Result<(), BoxError> {
        self.update_left(state);
        self.update_right(state);
        Ok(())
    }

    fn is_monotone(&self) -> bool {
        true
    }

    fn allows_extrapolation(&self) -> bool {
        true
    }
}
