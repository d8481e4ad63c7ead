//! Twins of the full objective: everything dense and f64, straight from tr(E Ω Eᵀ).

use armor_core::Hessian;
use ndarray::{Array1, Array2, s};

use super::{Mat, Random, Snapshot, best_group, blocks, solve};

/// A full Hessian of `tokens` correlated inputs with a spread of about e³; singular where there are fewer tokens than
/// inputs.
pub fn full_hessian(cols: usize, tokens: usize, seed: u64) -> Array2<f32> {
    let mut random = Random::new(seed ^ 0x5eed);
    let scales: Vec<f64> = (0..cols).map(|_| (0.5 * random.normal()).exp()).collect();
    let mut inputs = Mat::zeros((tokens, cols));
    for mut token in inputs.rows_mut() {
        let shared = random.normal();
        for (input, scale) in token.iter_mut().zip(&scales) {
            *input = scale * (0.6 * shared + 0.8 * random.normal());
        }
    }
    (inputs.t().dot(&inputs) / tokens as f64).mapv(|x| x as f32)
}

/// Ω = (1 − α) corr(H) + α I, the correlation of an input that was never excited with any other being zero.
pub fn correlation(hessian: &Array2<f32>, alpha: f64) -> Mat {
    let root = |i: usize| f64::from(hessian[[i, i]]).sqrt();
    Mat::from_shape_fn(hessian.dim(), |(i, j)| {
        if i == j {
            1.0
        } else if root(i) > 0.0 && root(j) > 0.0 {
            (1.0 - alpha) * f64::from(hessian[[i, j]]) / (root(i) * root(j))
        } else {
            0.0
        }
    })
}

/// tr(X M Xᵀ).
pub fn quadratic_form(x: &Mat, matrix: &Mat) -> f64 {
    (x * &x.dot(matrix)).sum()
}

pub fn coupled_loss(y: &Mat, omega: &Mat, left: &Mat, core: &Mat, right: &Mat) -> f64 {
    quadratic_form(&(y - &left.dot(core).dot(right)), omega)
}

/// The left wrapper of least loss: A_a = (Y_a Ω T_aᵀ)(T_a Ω T_aᵀ)⁻¹ with T = S B.
pub fn best_left(y: &Mat, omega: &Mat, core: &Mat, right: &Mat, block: usize) -> Mat {
    let t = core.dot(right);
    let mut left = Mat::zeros((y.nrows(), y.nrows()));
    for (start, end) in blocks(y.nrows(), block) {
        let t = t.slice(s![start..end, ..]);
        let weighted = t.dot(omega);
        let transposed = solve(&weighted.dot(&t.t()), &weighted.dot(&y.slice(s![start..end, ..]).t()));
        left.slice_mut(s![start..end, start..end]).assign(&transposed.t());
    }
    left
}

/// One Gauss–Seidel pass over the right wrapper's blocks, the residual made anew for each.
pub fn swept_right(y: &Mat, omega: &Mat, left: &Mat, core: &Mat, right: &Mat, block: usize) -> Mat {
    let product = left.dot(core);
    let mut right = right.clone();
    for (start, end) in blocks(y.ncols(), block) {
        let residual = (y - &product.dot(&right)).dot(omega);
        let u = product.slice(s![.., start..end]);
        // A column that no row keeps has nothing to say: its part of the step is zero.
        let mut gram = u.t().dot(&u);
        let ridge = 1e-9 * gram.diag().sum() / gram.nrows() as f64;
        gram.diag_mut().mapv_inplace(|x| x + ridge);
        let half = solve(&gram, &u.t().dot(&residual.slice(s![.., start..end])));
        let step = solve(&omega.slice(s![start..end, start..end]).to_owned(), &half.t().to_owned());
        let mut of_b = right.slice_mut(s![start..end, start..end]);
        of_b += &step.t();
    }
    right
}

/// One greedy sweep, panel after panel in every block of rows; the gradient is made anew for every group.
pub fn sweep(snapshot: &Snapshot, omega: &Mat) -> Mat {
    let Snapshot { y, left, right, pattern, .. } = snapshot;
    let mut core = snapshot.core.clone();
    let (m, q) = (pattern.m(), right.dot(omega).dot(&right.t()));
    for (top, bottom) in blocks(y.nrows(), snapshot.left_block) {
        let a = left.slice(s![top..bottom, top..bottom]);
        let p = a.t().dot(&a);
        let c = a.t().dot(&y.slice(s![top..bottom, ..])).dot(omega).dot(&right.t());
        let mut core = core.slice_mut(s![top..bottom, ..]);
        for (first, end) in blocks(y.ncols(), snapshot.right_block) {
            for row in 0..bottom - top {
                for start in (first..end).step_by(m) {
                    let of_group = s![.., start..start + m];
                    let gram = q.slice(s![start..start + m, start..start + m]).to_owned();
                    let gradient = p.row(row).dot(&core).dot(&q.slice(of_group)) - c.slice(s![row, start..start + m]);
                    let old = core.slice(s![row, start..start + m]).to_owned();
                    let h = gram.dot(&old) * p[[row, row]] - gradient;
                    let (_, values, _) = best_group(*pattern, &gram, &h.to_vec(), p[[row, row]]);
                    core.slice_mut(s![row, start..start + m]).assign(&Array1::from(values));
                }
            }
        }
    }
    core
}

/// A Hessian that the crate takes.
pub fn checked(hessian: &Array2<f32>) -> Hessian {
    Hessian::from_full(hessian).expect("the Hessian is sound")
}
