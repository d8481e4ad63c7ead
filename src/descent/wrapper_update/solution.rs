//! A block of a wrapper as the solution of its normal equations.

use crate::kernels::linalg::{Unknown, solve_proximal};

const RIDGE: f64 = 1e-6;

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
