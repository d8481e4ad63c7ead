//! The exact wrapper update: each block is the solution of its least-squares problem.

use super::coupled;
use super::normal_equations::NormalEquations;
use crate::linalg::{Unknown, solve_proximal};
use crate::scratch::with_scratch_f64;
use crate::wrapper::WrapperUpdate;
use crate::{Error, State, Step};

/// Solves for A, then for B̃, each with the other two factors fixed: the loss never rises.
///
/// Where errors couple, the blocks of B̃ are no longer independent and are solved one after the other.
/// A proximal ridge of 10⁻⁶ of the mean diagonal towards the current block keeps rank-deficient problems solvable.
#[derive(Clone, Debug, Default)]
pub struct LeastSquares {
    equations: NormalEquations,
}

const RIDGE: f64 = 1e-6;

impl LeastSquares {
    /// Solves for A alone.
    pub fn update_left(&mut self, state: &mut State<'_>) {
        if let Some(coupling) = state.target().coupling() {
            return coupled::update_left(state, coupling);
        }
        self.equations.of_left(state);
        state.change_left(|_, a, block| self.solve(a, block, Unknown::LeftOfGram));
    }

    /// Solves for B̃ alone.
    pub fn update_right(&mut self, state: &mut State<'_>) {
        if let Some(coupling) = state.target().coupling() {
            return coupled::update_right(state, coupling);
        }
        self.equations.of_right(state);
        state.change_right(|_, b, block| self.solve(b, block, Unknown::RightOfGram));
    }

    fn solve(&self, index: usize, block: &mut [f32], side: Unknown) {
        let n = block.len().isqrt();
        with_scratch_f64([n * n; 5], |[gram, rhs, current, shifted, solution]| {
            self.equations.sum(index, n, gram, rhs);
            write_solution(block, gram, rhs, side, [current, shifted, solution]);
        });
    }
}

/// Replaces a block by the solution of its equations, where there is one.
pub(super) fn write_solution(
    block: &mut [f32],
    gram: &[f64],
    rhs: &[f64],
    side: Unknown,
    [current, shifted, solution]: [&mut [f64]; 3],
) {
    for (wide, &narrow) in current.iter_mut().zip(&*block) {
        *wide = narrow.into();
    }
    if solve_proximal(gram, rhs, current, side, RIDGE, [shifted, solution]) {
        for (value, &solution) in block.iter_mut().zip(&*solution) {
            *value = solution as f32;
        }
    }
}

impl WrapperUpdate for LeastSquares {
    fn update(&mut self, state: &mut State<'_>, _step: &Step) -> Result<(), Error> {
        self.update_left(state);
        self.update_right(state);
        Ok(())
    }
}
