//! Dense products and small symmetric solves: the only file that names faer.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};

#[cfg(feature = "lapack")]
mod lapack;
mod unknown;

pub(crate) use unknown::Unknown;

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

/// As [`set_product`], into entries of a larger row-major matrix whose rows are `stride` apart.
pub(crate) fn set_part_product<T: Real>(out: &mut [T], stride: usize, lhs: View<'_, T>, rhs: View<'_, T>) {
    part_product(out, stride, Accum::Replace, lhs, rhs);
}

/// As [`add_product`], into entries of a larger row-major matrix whose rows are `stride` apart.
pub(crate) fn add_part_product<T: Real>(out: &mut [T], stride: usize, lhs: View<'_, T>, rhs: View<'_, T>) {
    part_product(out, stride, Accum::Add, lhs, rhs);
}

fn part_product<T: Real>(out: &mut [T], stride: usize, accumulate: Accum, lhs: View<'_, T>, rhs: View<'_, T>) {
    let (rows, cols) = (lhs.nrows(), rhs.ncols());
    let out = MatMut::from_column_major_slice_with_stride_mut(out, cols, rows, stride);
    matmul(out.transpose_mut(), accumulate, lhs, rhs, T::ONE, Par::Seq);
}

/// out = (lhs · rhs)ᵀ, row-major.
pub(crate) fn set_product_transposed(out: &mut [f32], lhs: View<'_>, rhs: View<'_>) {
    set_product(out, rhs.transpose(), lhs.transpose());
}

/// Adds factorᵀ · factor to the lower triangle of `out`, n × n, row-major; the upper triangle may hold anything after.
///
/// By strips of rows, each a product as wide as its part of the triangle.
pub(crate) fn add_gram(out: &mut [f32], factor: View<'_>) {
    const STRIP: usize = 16;
    let n = factor.ncols();
    for start in (0..n).step_by(STRIP) {
        let end = n.min(start + STRIP);
        let strip = MatMut::from_column_major_slice_with_stride_mut(&mut out[start * n..], end, end - start, n);
        let (lhs, rhs) = (factor.subcols(start, end - start), factor.subcols(0, end));
        matmul(strip.transpose_mut(), Accum::Add, lhs.transpose(), rhs, 1.0, Par::Seq);
    }
}

/// Copies the lower triangle of a row-major n × n matrix onto its upper one.
pub(crate) fn mirror_lower<T: Copy>(matrix: &mut [T], n: usize) {
    for i in 0..n {
        for j in 0..i {
            matrix[j * n + i] = matrix[i * n + j];
        }
    }
}

/// Solves gram · X = rhs with gram + ridge·I for gram and rhs + ridge·current for rhs: least squares with a proximal
/// ridge. Or X · gram = rhs, as `side` says.
///
/// All are n × n and row-major, `gram` symmetric positive semi-definite. The ridge starts at `relative_ridge` × the
/// mean of gram's diagonal and grows tenfold until the Cholesky factorisation succeeds. The second working array
/// receives the solution; false for a gram without a positive diagonal, or one that never factors.
pub(crate) fn solve_proximal(
    gram: &[f64],
    rhs: &[f64],
    current: &[f64],
    side: Unknown,
    relative_ridge: f64,
    [shifted, solution]: [&mut [f64]; 2],
) -> bool {
    let n = gram.len().isqrt();
    let mean = (0..n).map(|i| gram[i * n + i]).sum::<f64>() / n as f64;
    if !(mean > 0.0 && mean.is_finite()) {
        return false;
    }
    let mut relative = relative_ridge;
    while relative < 1.0 {
        let ridge = relative * mean;
        shifted.copy_from_slice(gram);
        for i in 0..n {
            shifted[i * n + i] += ridge;
        }
        for ((solution, rhs), current) in solution.iter_mut().zip(rhs).zip(current) {
            *solution = rhs + ridge * current;
        }
        if solve_positive_definite(shifted, solution, n, side) {
            return true;
        }
        relative *= 10.0;
    }
    false
}

/// Solves for X in place of `rhs` by Cholesky with the backend that the crate was built with; false where the matrix
/// is not positive definite or the solution is not finite. Overwrites the matrix.
fn solve_positive_definite(matrix: &mut [f64], rhs: &mut [f64], n: usize, side: Unknown) -> bool {
    #[cfg(feature = "lapack")]
    let solved = lapack::solve_positive_definite(matrix, rhs, n, side);
    #[cfg(not(feature = "lapack"))]
    let solved = solve_positive_definite_faer(matrix, rhs, n, side);
    solved && rhs.iter().all(|x| x.is_finite())
}

#[cfg_attr(all(feature = "lapack", not(test)), expect(dead_code, reason = "the other backend is in use"))]
fn solve_positive_definite_faer(matrix: &mut [f64], rhs: &mut [f64], n: usize, side: Unknown) -> bool {
    use faer::linalg::triangular_solve::{solve_lower_triangular_in_place, solve_upper_triangular_in_place};
    // Symmetric, so it may as well be column-major, which is what runs fast.
    if !factor_in_place(MatMut::from_column_major_slice_mut(matrix, n, n)) {
        return false;
    }
    let lower = MatRef::from_column_major_slice(matrix, n, n);
    let others = rhs.len() / n;
    let mut unknown = match side {
        Unknown::RightOfGram => MatMut::from_row_major_slice_mut(rhs, n, others),
        Unknown::LeftOfGram => MatMut::from_row_major_slice_mut(rhs, others, n).transpose_mut(),
    };
    solve_lower_triangular_in_place(lower, unknown.as_mut(), Par::Seq);
    solve_upper_triangular_in_place(lower.transpose(), unknown, Par::Seq);
    true
}

/// Replaces a matrix's lower triangle by its Cholesky factor; the upper one may hold anything after. False, and the matrix
/// is lost, where it is not positive definite.
fn factor_in_place(matrix: MatMut<'_, f64>) -> bool {
    use faer::dyn_stack::{MemBuffer, MemStack};
    use faer::linalg::cholesky::llt::factor::{cholesky_in_place, cholesky_in_place_scratch};
    let mut memory = MemBuffer::new(cholesky_in_place_scratch::<f64>(matrix.nrows(), Par::Seq, Default::default()));
    let stack = MemStack::new(&mut memory);
    cholesky_in_place(matrix, Default::default(), Par::Seq, stack, Default::default()).is_ok()
}

/// Replaces the upper triangle of a symmetric n × n matrix, row-major, by Lᵀ with matrix = L Lᵀ; the lower one may hold
/// anything after. False, and the matrix is lost, where it is not positive definite.
pub(crate) fn cholesky(matrix: &mut [f64], n: usize) -> bool {
    // Symmetric, so it may as well be column-major, which is what runs fast.
    factor_in_place(MatMut::from_column_major_slice_mut(matrix, n, n))
}

/// Computes rows ← rows · L⁻ᵀ, row-major with n columns, with the Lᵀ that [`cholesky`] left.
pub(crate) fn solve_transposed_factor(factor: &[f64], rows: &mut [f64], n: usize) {
    use faer::linalg::triangular_solve::solve_lower_triangular_in_place;
    let unknown = MatMut::from_column_major_slice_mut(rows, n, rows.len() / n);
    solve_lower_triangular_in_place(MatRef::from_column_major_slice(factor, n, n), unknown, Par::Seq);
}

/// Computes rows ← rows · L⁻¹, row-major with n columns, with the Lᵀ that [`cholesky`] left.
pub(crate) fn solve_factor(factor: &[f64], rows: &mut [f64], n: usize) {
    use faer::linalg::triangular_solve::solve_upper_triangular_in_place;
    let unknown = MatMut::from_column_major_slice_mut(rows, n, rows.len() / n);
    solve_upper_triangular_in_place(MatRef::from_column_major_slice(factor, n, n).transpose(), unknown, Par::Seq);
}

/// Cholesky factor L of a symmetric n × n matrix, row-major, its lower triangle; the upper one may hold anything.
///
/// `fill` writes the matrix with a ridge on its diagonal, which grows tenfold, from at least 10⁻⁷, until the
/// factorisation succeeds. Returns L and the ridge.
pub(crate) fn cholesky_with_ridge(n: usize, mut ridge: f64, fill: impl Fn(&mut [f64], f64)) -> (Vec<f64>, f64) {
    let mut matrix = vec![0.0; n * n];
    loop {
        fill(&mut matrix, ridge);
        if factor_in_place(MatMut::from_row_major_slice_mut(&mut matrix, n, n)) {
            return (matrix, ridge);
        }
        ridge = (10.0 * ridge).max(1e-7);
        assert!(ridge.is_finite(), "a ridge above the sum of a row's magnitudes makes any finite matrix definite");
    }
}

/// Inverts a lower triangular n × n matrix, row-major; what stands above its diagonal does not matter.
pub(crate) fn invert_lower(matrix: &[f64], n: usize) -> Vec<f64> {
    use faer::linalg::triangular_inverse::invert_lower_triangular;
    let mut inverse = vec![0.0; n * n];
    let out = MatMut::from_row_major_slice_mut(&mut inverse, n, n);
    invert_lower_triangular(out, rows_of(matrix, n), Par::Seq);
    inverse
}

/// Largest eigenvalue of a symmetric positive semi-definite matrix, n × n; its trace where the iteration fails.
///
/// It runs on the calling thread, whatever faer's global parallelism is: other crates may set that.
pub(crate) fn largest_eigenvalue(matrix: &[f64], n: usize) -> f64 {
    use faer::diag::Diag;
    use faer::dyn_stack::{MemBuffer, MemStack};
    use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
    let (par, values_only) = (Par::Seq, ComputeEigenvectors::No);
    let mut memory = MemBuffer::new(self_adjoint_evd_scratch::<f64>(n, values_only, par, Default::default()));
    let stack = MemStack::new(&mut memory);
    let mut ascending = Diag::<f64>::zeros(n);
    match self_adjoint_evd(rows_of(matrix, n), ascending.as_mut(), None, par, stack, Default::default()) {
        Ok(()) => ascending.column_vector().iter().last().copied().unwrap_or(0.0),
        Err(_) => (0..n).map(|i| matrix[i * n + i]).sum(),
    }
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
            assert!(solve_positive_definite(&mut gram.clone(), &mut solution, n, Unknown::RightOfGram));
            let mut product = vec![0.0; n * c];
            set_product(&mut product, rows_of(&gram, n), rows_of(&solution, c));
            assert_near(&product, &rhs, &format!("gram X, n = {n}"));

            let mut solution = rhs.clone();
            assert!(solve_positive_definite(&mut gram.clone(), &mut solution, n, Unknown::LeftOfGram));
            set_product(&mut product, rows_of(&solution, n), rows_of(&gram, n));
            assert_near(&product, &rhs, &format!("X gram, n = {n}"));
        }
    }

    #[track_caller]
    fn assert_near(found: &[f64], expected: &[f64], what: &str) {
        for (f, e) in found.iter().zip(expected) {
            assert!((f - e).abs() < 1e-9 * (1.0 + e.abs()), "{what}: {f} is not {e}");
        }
    }

    #[test]
    fn gram_is_the_product_with_the_transpose() {
        for (rows, n) in [(1, 1), (3, 5), (8, 15), (20, 16), (7, 17), (40, 33), (64, 64), (16, 100)] {
            let factor: Vec<f32> = (0..rows * n).map(|i| ((i * 37 + 11) % 101) as f32 / 101.0 - 0.5).collect();
            let mut gram = vec![1.0; n * n];
            add_gram(&mut gram, rows_of(&factor, n));
            mirror_lower(&mut gram, n);
            for i in 0..n {
                for j in 0..n {
                    let sum: f64 = (0..rows).map(|r| f64::from(factor[r * n + i]) * f64::from(factor[r * n + j])).sum();
                    assert!((f64::from(gram[i * n + j]) - 1.0 - sum).abs() < 1e-5, "{rows}x{n}: entry [{i}, {j}]");
                }
            }
        }
    }

    #[test]
    fn inverse_of_a_triangle_is_one() {
        for n in [1, 2, 7, 64, 65, 130] {
            let (gram, _) = problem(n, 1);
            let (matrix, ridge) = cholesky_with_ridge(n, 0.0, |matrix, _| matrix.copy_from_slice(&gram));
            assert_eq!(ridge, 0.0);
            let inverse = invert_lower(&matrix, n);
            for i in 0..n {
                for j in 0..n {
                    let entry: f64 = (0..=i).map(|t| matrix[i * n + t] * inverse[t * n + j]).sum();
                    let expected = if i == j { 1.0 } else { 0.0 };
                    assert!((entry - expected).abs() < 1e-9, "n = {n}: entry [{i}, {j}] is {entry}");
                }
            }
        }
    }

    #[test]
    fn both_halves_of_a_solve_undo_the_factors() {
        for (n, c) in [(1, 1), (2, 5), (7, 3), (65, 1), (130, 64)] {
            let (gram, rhs) = problem(n, c);
            let mut factor = gram.clone();
            assert!(cholesky(&mut factor, n));
            let mut rows = rhs.clone();
            solve_transposed_factor(&factor, &mut rows, n);
            let energy = rows.iter().map(|x| x * x).sum::<f64>();
            solve_factor(&factor, &mut rows, n);
            let mut product = vec![0.0; n * c];
            set_product(&mut product, rows_of(&rows, n), rows_of(&gram, n));
            assert_near(&product, &rhs, &format!("X gram, n = {n}"));
            // ‖R L⁻ᵀ‖² is tr(R gram⁻¹ Rᵀ).
            let form: f64 = rows.iter().zip(&rhs).map(|(x, r)| x * r).sum();
            assert_near(&[energy], &[form], &format!("the form, n = {n}"));
        }
        assert!(!cholesky(&mut [1.0, 2.0, 2.0, 1.0], 2));
    }

    #[test]
    fn the_largest_eigenvalue_is_that_of_a_known_matrix() {
        for n in [1, 2, 7, 64, 400] {
            // Eigenvalues 1 (n − 1 times) and 1 + n / 2.
            let matrix: Vec<f64> = (0..n * n).map(|i| if i / n == i % n { 1.5 } else { 0.5 }).collect();
            let found = largest_eigenvalue(&matrix, n);
            assert!((found - 1.0 - n as f64 / 2.0).abs() < 1e-10 * n as f64, "n = {n}: {found}");
        }
    }

    #[test]
    fn indefinite_matrix_is_refused() {
        let refused = !solve_positive_definite(&mut [1.0, 2.0, 2.0, 1.0], &mut [1.0, 1.0], 2, Unknown::RightOfGram);
        assert!(refused);
    }

    #[test]
    fn singular_gram_still_gives_a_solution_near_the_current_one() {
        // Every column of X on its own: x + y = 2 from (5, -5) and x + y = 4 from (1, 1).
        let (gram, rhs, current) = ([1.0, 1.0, 1.0, 1.0], [2.0, 4.0, 2.0, 4.0], [5.0, 1.0, -5.0, 1.0]);
        let (mut shifted, mut x) = ([0.0; 4], [0.0; 4]);
        assert!(solve_proximal(&gram, &rhs, &current, Unknown::RightOfGram, 1e-6, [&mut shifted, &mut x]));
        assert!((x[0] + x[2] - 2.0).abs() < 1e-4 && (x[1] + x[3] - 4.0).abs() < 1e-4, "{x:?} is no solution");
        assert!((x[0] - x[2] - 10.0).abs() < 1e-4, "{x:?} left the null space's current value");
        assert!((x[1] - x[3]).abs() < 1e-4, "{x:?} left the null space's current value");
    }

    #[test]
    fn zero_gram_has_no_solution() {
        let (mut shifted, mut x) = ([0.0; 4], [0.0; 4]);
        let buffers = [&mut shifted[..], &mut x[..]];
        assert!(!solve_proximal(&[0.0; 4], &[1.0; 4], &[3.0; 4], Unknown::LeftOfGram, 1e-6, buffers));
    }

    #[cfg(feature = "lapack")]
    #[test]
    fn both_backends_agree() {
        for (n, c) in [(1, 1), (3, 8), (64, 64), (100, 7), (128, 128)] {
            for side in [Unknown::RightOfGram, Unknown::LeftOfGram] {
                let (gram, rhs) = problem(n, c);
                let (mut by_faer, mut by_lapack) = (rhs.clone(), rhs);
                assert!(solve_positive_definite_faer(&mut gram.clone(), &mut by_faer, n, side));
                assert!(lapack::solve_positive_definite(&gram, &mut by_lapack, n, side));
                for (f, l) in by_faer.iter().zip(&by_lapack) {
                    assert!((f - l).abs() <= 1e-10 * (1.0 + f.abs()), "{f} by faer, {l} by LAPACK at n = {n}");
                }
            }
        }
    }
}
