//! Twins of the pruning methods, straight from their formulas, and Hessians for them.

use armor_core::Pattern;
use ndarray::{Array2, s};

use super::{Mat, Random, importance, solve};

/// Pruned weights, and which entries are kept.
pub struct Pruned {
    pub values: Mat,
    pub kept: Array2<bool>,
}

/// The Hessian of `tokens` correlated inputs, k × k; those of `dead` are always zero.
pub fn full_hessian(k: usize, tokens: usize, dead: &[usize], seed: u64) -> Array2<f32> {
    let mut random = Random::new(seed ^ 0x5a5a);
    let scales: Vec<f64> = (0..k).map(|_| (0.5 * random.normal()).exp()).collect();
    let mut inputs = Mat::zeros((tokens, k));
    for mut token in inputs.rows_mut() {
        let mut last = 0.0;
        for j in 0..k {
            last = 0.7 * last + random.normal();
            token[j] = if dead.contains(&j) { 0.0 } else { last * scales[j] };
        }
    }
    (inputs.t().dot(&inputs) / tokens as f64).mapv(|x| x as f32)
}

/// The `n` largest of `scores` in absolute value, the first ones where they tie.
fn largest(scores: &[f64], n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].abs().total_cmp(&scores[a].abs()));
    order.truncate(n);
    order
}

/// Keeps the N entries of largest |W_ij| scale_j of every M; those of scale 0 come after all others, by |W_ij|.
pub fn pruned_by(weight: &Mat, scales: &[f64], pattern: Pattern) -> Pruned {
    let mut pruned = Pruned { values: Mat::zeros(weight.dim()), kept: Array2::from_elem(weight.dim(), false) };
    for i in 0..weight.nrows() {
        for start in (0..weight.ncols()).step_by(pattern.m()) {
            let mut order: Vec<usize> = (start..start + pattern.m()).collect();
            let size = |j: usize| weight[[i, j]].abs() * if scales[j] > 0.0 { scales[j] } else { 1.0 };
            order.sort_by(|&a, &b| size(b).total_cmp(&size(a)));
            order.sort_by_key(|&j| scales[j] == 0.0);
            for &j in &order[..pattern.n()] {
                pruned.kept[[i, j]] = true;
                pruned.values[[i, j]] = weight[[i, j]];
            }
        }
    }
    pruned
}

/// Wanda's ‖x_j‖, up to a common factor.
pub fn norms(diagonal: &[f64]) -> Vec<f64> {
    importance(diagonal).into_iter().map(f64::sqrt).collect()
}

/// The inverses of H without its first 0, 1, 2, … rows and columns, each from the one before by one elimination step;
/// entry j stands in the lower right of a k × k matrix.
fn trailing_inverses(hessian: &Mat) -> Vec<Mat> {
    let k = hessian.nrows();
    let mut inverse = solve(hessian, &Mat::eye(k));
    let mut all = Vec::new();
    for j in 0..k {
        all.push(inverse.clone());
        let (column, row) = (inverse.column(j).to_owned(), inverse.row(j).to_owned());
        let pivot = inverse[[j, j]];
        for a in j..k {
            for b in j..k {
                inverse[[a, b]] -= column[a] * row[b] / pivot;
            }
        }
    }
    all
}

/// SparseGPT: every column's pruned weights are made up for by the columns on its right, as the inverse of the Hessian
/// of those that are left says.
pub fn sparse_gpt(weight: &Mat, hessian: &Mat, pattern: Pattern, dampening: f64) -> Pruned {
    let k = weight.ncols();
    let mean = hessian.diag().mean().expect("not empty");
    let (mut values, mut damped) = (weight.clone(), hessian.clone());
    for j in 0..k {
        if hessian[[j, j]] == 0.0 {
            values.column_mut(j).fill(0.0);
            damped[[j, j]] = mean;
        }
        damped[[j, j]] += dampening * mean;
    }
    let inverses = trailing_inverses(&damped);
    let mut kept = Array2::from_elem(weight.dim(), false);
    for i in 0..weight.nrows() {
        for j in 0..k {
            if j % pattern.m() == 0 {
                let saliency = |t: usize| values[[i, t]].powi(2) / inverses[t][[t, t]];
                let saliencies: Vec<f64> = (j..j + pattern.m()).map(saliency).collect();
                for t in largest(&saliencies, pattern.n()) {
                    kept[[i, j + t]] = true;
                }
            }
            if !kept[[i, j]] {
                let error = values[[i, j]] / inverses[j][[j, j]];
                let spread = &inverses[j].slice(s![j, j..]) * error;
                let mut rest = values.slice_mut(s![i, j..]);
                rest -= &spread;
                values[[i, j]] = 0.0;
            }
        }
    }
    Pruned { values, kept }
}
