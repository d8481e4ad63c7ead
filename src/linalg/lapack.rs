//! The optional backend: Cholesky by the system's LAPACK.

use ndarray::{Array1, ArrayView2, ArrayViewMut2};
use ndarray_linalg::{FactorizeC, SolveC, UPLO};

/// Solves matrix · X = rhs in place; false where the matrix is not positive definite.
pub(super) fn solve_positive_definite(matrix: &[f64], rhs: &mut [f64], n: usize) -> bool {
    let cols = rhs.len() / n;
    let matrix = ArrayView2::from_shape((n, n), matrix).expect("the matrix is n × n");
    let mut rhs = ArrayViewMut2::from_shape((n, cols), rhs).expect("the right-hand side has n rows");
    let Ok(cholesky) = matrix.factorizec(UPLO::Lower) else {
        return false;
    };
    for mut column in rhs.columns_mut() {
        let mut solution: Array1<f64> = column.to_owned();
        if cholesky.solvec_inplace(&mut solution).is_err() {
            return false;
        }
        column.assign(&solution);
    }
    true
}
