//! The exact wrapper update: each block is the solution of its least-squares problem.

use super::normal_equations::NormalEquations;
use crate::linalg::{Unknown, solve_proximal};
use crate::scratch::with_scratch_f64;
use crate::wrapper::WrapperUpdate;
use crate::{Error, State, Step};

/// Solves for A, then for B̃, each with the other two factors fixed: the loss never rises.
///
/// A proximal ridge of 10⁻⁶ of the mean diagonal towards the current block keeps rank-deficient problems solvable.
#[derive(Clone, Debug, Default)]
pub struct LeastSquares {
    equations: NormalEquations,
}

const RIDGE: f64 = 1e-6;

impl LeastSquares {
    /// Solves for A alone.
    pub fn update_left(&mut self, state: &mut State<'_>) {
        self.equations.of_left(state);
        state.change_left(|_, a, block| self.solve(a, block, Unknown::LeftOfGram));
    }

    /// Solves for B̃ alone.
    pub fn update_right(&mut self, state: &mut State<'_>) {
        self.equations.of_right(state);
        state.change_right(|_, b, block| self.solve(b, block, Unknown::RightOfGram));
    }

    fn solve(&self, index: usize, block: &mut [f32], side: Unknown) {
        let n = block.len().isqrt();
        with_scratch_f64([n * n; 5], |[gram, rhs, current, shifted, solution]| {
            self.equations.sum(index, n, gram, rhs);
            for (wide, &narrow) in current.iter_mut().zip(&*block) {
                *wide = narrow.into();
            }
            if solve_proximal(gram, rhs, current, side, RIDGE, [shifted, solution]) {
                for (value, &solution) in block.iter_mut().zip(&*solution) {
                    *value = solution as f32;
                }
            }
        });
    }
}

impl WrapperUpdate for LeastSquares {
    fn update(&mut self, state: &mut State<'_>, _step: &Step) -> Result<(), Error> {
        self.update_left(state);
        self.update_right(state);
        Ok(())
    }
}
