//! The least-squares problem of one wrapper block, as its normal equations.

use crate::State;
use crate::linalg::{View, add_gram, add_product, mirror_lower, rows_of, set_product};
use crate::scratch::with_scratch;

/// gram · X = rhs, both n × n, row-major, f64.
pub(super) struct NormalEquations {
    pub gram: Vec<f64>,
    pub rhs: Vec<f64>,
    pub n: usize,
}

/// Block products that are added up in f32 before their sum goes to f64.
const RUN: usize = 8;

impl NormalEquations {
    /// Equations of A_aᵀ: (Σ_b T_ab T_abᵀ) A_aᵀ = Σ_b T_ab Y_abᵀ with T_ab = S_ab B̃_b.
    pub fn left(state: &State<'_>, a: usize) -> Self {
        let target = state.target();
        let (rows, cols) = (target.row_blocks(), target.col_blocks());
        let p = rows.size(a);
        let size = p * cols.block;
        with_scratch([p * p, p * p, size, size], |[gram, rhs, dense, product]| {
            Self::accumulate(p, cols.count(), gram, rhs, |b, gram, rhs| {
                let q = cols.size(b);
                let (dense, product) = (&mut dense[..p * q], &mut product[..p * q]);
                state.core().expand(b, rows.range(a), dense);
                set_product(product, rows_of(dense, q), rows_of(state.right().values(b), q));
                add_normal(gram, rhs, rows_of(product, q), rows_of(target.block(a, b), q).transpose());
            })
        })
    }

    /// Equations of B̃_b: (Σ_a U_abᵀ U_ab) B̃_b = Σ_a U_abᵀ Y_ab with U_ab = A_a S_ab.
    pub fn right(state: &State<'_>, b: usize) -> Self {
        let target = state.target();
        let (rows, cols) = (target.row_blocks(), target.col_blocks());
        let q = cols.size(b);
        let size = rows.block * q;
        with_scratch([q * q, q * q, size, size], |[gram, rhs, dense, product]| {
            Self::accumulate(q, rows.count(), gram, rhs, |a, gram, rhs| {
                let p = rows.size(a);
                let (dense, product) = (&mut dense[..p * q], &mut product[..p * q]);
                state.core().expand(b, rows.range(a), dense);
                set_product(product, rows_of(state.left().values(a), p), rows_of(dense, q));
                add_normal(gram, rhs, rows_of(product, q).transpose(), rows_of(target.block(a, b), q));
            })
        })
    }

    /// Sums the terms of `count` blocks, in runs that f32 holds well.
    fn accumulate(
        n: usize,
        count: usize,
        gram: &mut [f32],
        rhs: &mut [f32],
        mut add: impl FnMut(usize, &mut [f32], &mut [f32]),
    ) -> Self {
        let mut sums = NormalEquations { gram: vec![0.0; n * n], rhs: vec![0.0; n * n], n };
        for start in (0..count).step_by(RUN) {
            gram.fill(0.0);
            rhs.fill(0.0);
            for index in start..count.min(start + RUN) {
                add(index, gram, rhs);
            }
            for (sums, terms) in [(&mut sums.gram, &*gram), (&mut sums.rhs, &*rhs)] {
                for (sum, &term) in sums.iter_mut().zip(terms) {
                    *sum += f64::from(term);
                }
            }
        }
        mirror_lower(&mut sums.gram, n);
        sums
    }
}

/// gram += factor factorᵀ (its lower triangle), rhs += factor · values.
fn add_normal(gram: &mut [f32], rhs: &mut [f32], factor: View<'_>, values: View<'_>) {
    add_gram(gram, factor);
    add_product(rhs, factor, values);
}

/// Copies a row-major n × n matrix to f64, transposed.
pub(super) fn transposed(matrix: &[f32], n: usize) -> Vec<f64> {
    (0..n * n).map(|index| f64::from(matrix[index % n * n + index / n])).collect()
}
