//! The optional backend: Cholesky by the system's LAPACK.

use ndarray::{Array1, ArrayView2, ArrayViewMut2, Axis};
use ndarray_linalg::{FactorizeC, SolveC, UPLO};

use crate::kernels::linalg::unknown::Unknown;

/// Solves matrix · X = rhs, or X · matrix = rhs, in place; false where the matrix is not positive definite.
pub(super) fn solve_positive_definite(matrix: &[f64], rhs: &mut [f64], n: usize, side: Unknown) -> bool {
    let others = rhs.len() / n;
    let matrix = ArrayView2::from_shape((n, n), matrix).expect("the matrix is n × n");
    let shape = if side == Unknown::RightOfGram { (n, others) } else { (others, n) };
    let mut rhs = ArrayViewMut2::from_shape(shape, rhs).expect("the right-hand side is as wide as the matrix");
    let Ok(cholesky) = matrix.factorizec(UPLO::Lower) else {
        return false;
    };
    let axis = if side == Unknown::RightOfGram { Axis(1) } else { Axis(0) };
    for mut lane in rhs.axis_iter_mut(axis) {
        let mut solution: Array1<f64> = lane.to_owned();
        if cholesky.solvec_inplace(&mut solution).is_err() {
            return false;
        }
        lane.assign(&solution);
    }
    true
}
