//! Dense products and small symmetric solves: the only file that names faer.

use faer::linalg::matmul::triangular::BlockStructure;
use faer::linalg::matmul::{matmul, triangular};
use faer::{Accum, MatMut, MatRef, Par};

#[cfg(feature = "lapack")]
mod lapack;

/// A borrowed matrix with any strides.
pub(crate) type View<'a, T = f32> = MatRef<'a, T>;

/// Number types that products run on.
pub(crate) trait Real: faer::traits::ComplexField + Copy {
    /// The number one.
    const ONE: Self;
}

impl Real for f32 {
    const ONE: Self = 1.0;
}

impl Real for f64 {
    const ONE: Self = 1.0;
}

/// Views row-major values as a matrix with `cols` columns.
pub(crate) fn rows_of<T>(values: &[T], cols: usize) -> View<'_, T> {
    MatRef::from_row_major_slice(values, values.len() / cols, cols)
}

/// Views `rows` × `cols` entries of a larger row-major matrix whose rows are `stride` apart.
pub(crate) fn part_of<T>(values: &[T], rows: usize, cols: usize, stride: usize) -> View<'_, T> {
    MatRef::from_row_major_slice_with_stride(values, rows, cols, stride)
}

fn product<T: Real>(out: &mut [T], accumulate: Accum, lhs: View<'_, T>, rhs: View<'_, T>) {
    let out = MatMut::from_row_major_slice_mut(out, lhs.nrows(), rhs.ncols());
    matmul(out, accumulate, lhs, rhs, T::ONE, Par::Seq);
}

/// out = lhs · rhs, row-major.
pub(crate) fn set_product<T: Real>(out: &mut [T], lhs: View<'_, T>, rhs: View<'_, T>) {
    product(out, Accum::Replace, lhs, rhs);
}

/// out += lhs · rhs, row-major.
pub(crate) fn add_product<T: Real>(out: &mut [T], lhs: View<'_, T>, rhs: View<'_, T>) {
    product(out, Accum::Add, lhs, rhs);
}

/// Adds factor · factorᵀ to the lower triangle of `out`, row-major; the upper triangle is not touched.
pub(crate) fn add_gram(out: &mut [f32], factor: View<'_>) {
    let out = MatMut::from_row_major_slice_mut(out, factor.nrows(), factor.nrows());
    triangular::matmul(
        out,
        BlockStructure::TriangularLower,
        Accum::Add,
        factor,
        BlockStructure::Rectangular,
        factor.transpose(),
        BlockStructure::Rectangular,
        1.0,
        Par::Seq,
    );
}

/// Copies the lower triangle of a row-major n × n matrix onto its upper one.
pub(crate) fn mirror_lower<T: Copy>(matrix: &mut [T], n: usize) {
    for i in 0..n {
        for j in 0..i {
            matrix[j * n + i] = matrix[i * n + j];
        }
    }
}

/// Solves (gram + ridge·I) X = rhs + ridge·current for X, in place of `rhs`: least squares with a proximal ridge.
///
/// `gram` is n × n, symmetric positive semi-definite, only its lower triangle is read; `rhs` and `current` are n × c.
/// All are row-major. The ridge starts at `relative_ridge` × the mean of gram's diagonal and grows tenfold until the
/// Cholesky factorisation succeeds; a gram without a positive diagonal, or one that never factors, leaves `current`.
pub(crate) fn solve_proximal(gram: &[f64], rhs: &mut [f64], current: &[f64], n: usize, relative_ridge: f64) {
    let mean = (0..n).map(|i| gram[i * n + i]).sum::<f64>() / n as f64;
    if mean > 0.0 && mean.is_finite() {
        let mut relative = relative_ridge;
        while relative < 1.0 {
            let ridge = relative * mean;
            let mut shifted = gram.to_vec();
            for i in 0..n {
                shifted[i * n + i] += ridge;
            }
            let mut solution: Vec<f64> = rhs.iter().zip(current).map(|(r, x)| r + ridge * x).collect();
            if solve_positive_definite(&shifted, &mut solution, n) {
                rhs.copy_from_slice(&solution);
                return;
            }
            relative *= 10.0;
        }
    }
    rhs.copy_from_slice(current);
}

/// Solves matrix · X = rhs in place by Cholesky with the backend that the crate was built with; false where the
/// matrix is not positive definite or the solution is not finite.
fn solve_positive_definite(matrix: &[f64], rhs: &mut [f64], n: usize) -> bool {
    #[cfg(feature = "lapack")]
    let solved = lapack::solve_positive_definite(matrix, rhs, n);
    #[cfg(not(feature = "lapack"))]
    let solved = solve_positive_definite_faer(matrix, rhs, n);
    solved && rhs.iter().all(|x| x.is_finite())
}

#[cfg_attr(all(feature = "lapack", not(test)), expect(dead_code, reason = "the other backend is in use"))]
fn solve_positive_definite_faer(matrix: &[f64], rhs: &mut [f64], n: usize) -> bool {
    use faer::linalg::solvers::SolveCore;
    let Ok(cholesky) = rows_of(matrix, n).llt(faer::Side::Lower) else {
        return false;
    };
    let cols = rhs.len() / n;
    cholesky.solve_in_place_with_conj(faer::Conj::No, MatMut::from_row_major_slice_mut(rhs, n, cols));
    true
}

/// Largest eigenvalue of a symmetric positive semi-definite matrix, n × n; its trace where the iteration fails.
pub(crate) fn largest_eigenvalue(matrix: &[f64], n: usize) -> f64 {
    match rows_of(matrix, n).self_adjoint_eigenvalues(faer::Side::Lower) {
        Ok(ascending) => ascending.last().copied().unwrap_or(0.0),
        Err(_) => (0..n).map(|i| matrix[i * n + i]).sum(),
    }
}

/// Σ x², added up in f64; eight running sums, so it does not wait on one.
pub(crate) fn sum_of_squares(values: &[f32]) -> f64 {
    let mut sums = [0.0; 8];
    let chunks = values.chunks_exact(8);
    let tail: f64 = chunks.remainder().iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    for chunk in chunks {
        for (sum, &x) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(x) * f64::from(x);
        }
    }
    sums.iter().sum::<f64>() + tail
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A well-conditioned symmetric matrix of size n and a right-hand side with c columns.
    fn problem(n: usize, c: usize) -> (Vec<f64>, Vec<f64>) {
        let factor: Vec<f64> = (0..n * n).map(|i| ((i * 37 + 11) % 101) as f64 / 101.0 - 0.5).collect();
        let mut gram = vec![0.0; n * n];
        set_product(&mut gram, rows_of(&factor, n), rows_of(&factor, n).transpose());
        for i in 0..n {
            gram[i * n + i] += 1.0;
        }
        (gram, (0..n * c).map(|i| ((i * 53 + 7) % 89) as f64 - 44.0).collect())
    }

    #[test]
    fn solution_satisfies_the_equations() {
        for (n, c) in [(1, 1), (2, 5), (7, 3), (64, 64), (65, 1), (128, 128)] {
            let (gram, rhs) = problem(n, c);
            let mut solution = rhs.clone();
            assert!(solve_positive_definite(&gram, &mut solution, n));
            let mut product = vec![0.0; n * c];
            set_product(&mut product, rows_of(&gram, n), rows_of(&solution, c));
            for (p, r) in product.iter().zip(&rhs) {
                assert!((p - r).abs() < 1e-9 * (1.0 + r.abs()), "{p} is not {r} at n = {n}");
            }
        }
    }

    #[test]
    fn indefinite_matrix_is_refused() {
        assert!(!solve_positive_definite(&[1.0, 2.0, 2.0, 1.0], &mut [1.0, 1.0], 2));
    }

    #[test]
    fn singular_gram_still_gives_a_solution_near_the_current_one() {
        let (gram, rhs, current) = ([1.0, 1.0, 1.0, 1.0], [2.0, 2.0], [5.0, -5.0]);
        let mut solution = rhs;
        solve_proximal(&gram, &mut solution, &current, 2, 1e-6);
        assert!((solution[0] + solution[1] - 2.0).abs() < 1e-4, "{solution:?} does not solve the equations");
        assert!((solution[0] - solution[1] - 10.0).abs() < 1e-4, "{solution:?} left the null space's current value");
    }

    #[test]
    fn zero_gram_keeps_the_current_value() {
        let mut rhs = [1.0, 2.0];
        solve_proximal(&[0.0; 4], &mut rhs, &[3.0, 4.0], 2, 1e-6);
        assert_eq!(rhs, [3.0, 4.0]);
    }

    #[cfg(feature = "lapack")]
    #[test]
    fn both_backends_agree() {
        for (n, c) in [(1, 1), (3, 8), (64, 64), (100, 7), (128, 128)] {
            let (gram, rhs) = problem(n, c);
            let (mut by_faer, mut by_lapack) = (rhs.clone(), rhs);
            assert!(solve_positive_definite_faer(&gram, &mut by_faer, n));
            assert!(lapack::solve_positive_definite(&gram, &mut by_lapack, n));
            for (f, l) in by_faer.iter().zip(&by_lapack) {
                assert!((f - l).abs() <= 1e-10 * (1.0 + f.abs()), "{f} by faer, {l} by LAPACK at n = {n}");
            }
        }
    }
}
