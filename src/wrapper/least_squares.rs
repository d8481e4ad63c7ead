//! The exact wrapper update: each block is the solution of its least-squares problem.

use super::normal_equations::{NormalEquations, transposed};
use crate::linalg::solve_proximal;
use crate::wrapper::WrapperUpdate;
use crate::{Error, State, Step};

/// Solves for A, then for B̃, each with the other two factors fixed: the loss never rises.
///
/// A proximal ridge of 10⁻⁶ of the mean diagonal towards the current block keeps rank-deficient problems solvable.
#[derive(Clone, Copy, Debug, Default)]
pub struct LeastSquares;

const RIDGE: f64 = 1e-6;

impl WrapperUpdate for LeastSquares {
    fn update(&mut self, state: &mut State<'_>, _step: &Step) -> Result<(), Error> {
        state.change_left(|state, a, block| {
            let NormalEquations { gram, mut rhs, n } = NormalEquations::left(state, a);
            solve_proximal(&gram, &mut rhs, &transposed(block, n), n, RIDGE);
            for (index, value) in block.iter_mut().enumerate() {
                *value = rhs[index % n * n + index / n] as f32;
            }
        });
        state.change_right(|state, b, block| {
            let NormalEquations { gram, mut rhs, n } = NormalEquations::right(state, b);
            let current: Vec<f64> = block.iter().map(|&x| f64::from(x)).collect();
            solve_proximal(&gram, &mut rhs, &current, n, RIDGE);
            for (value, solution) in block.iter_mut().zip(rhs) {
                *value = solution as f32;
            }
        });
        Ok(())
    }
}
