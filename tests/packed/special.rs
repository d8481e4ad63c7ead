//! NaN, infinities and zeros in x do what they do in a product with the dense matrix.

use armor_core::{PackedFactorization, Precision};
use ndarray::Array2;

use crate::setup::*;

/// What the dense product gives: its class, for outputs that are not finite.
fn assert_like_dense(weight: &Array2<f64>, x: &Array2<f32>, y: &Array2<f32>) {
    for (vector, x) in x.rows().into_iter().enumerate() {
        for (i, row) in weight.rows().into_iter().enumerate() {
            let dense: f64 = row.iter().zip(x).map(|(&w, &x)| w * f64::from(x)).sum();
            let found = f64::from(y[[vector, i]]);
            let alike = if dense.is_finite() {
                (found - dense).abs() <= 1e-3 * (1.0 + dense.abs())
            } else {
                found == dense || found.is_nan() && dense.is_nan()
            };
            assert!(alike, "output {i} of vector {vector} is {found}, dense {dense}");
        }
    }
}

/// A layer with two rows of zeros: A's first block has a row of them, and so has S where A's last block is 1 × 1.
fn layer() -> armor_core::Factorization {
    let (shape, mut at) = (Shape::new(33, 24, 8, 8), 0);
    let mut random = crate::common::Random::new(5);
    shape.factors_of(5, move |_| {
        at += 1;
        // Entries 8 to 15 of A are its second row; the values of S's last row come last.
        let numbers = 4 * 64 + 1 + 3 * 64;
        if (9..17).contains(&at) || at > numbers + 32 * 12 { 0.0 } else { random.normal() as f32 }
    })
}

#[test]
fn infinities_and_nan_spread_as_in_the_dense_product() {
    let factors = layer();
    let weight = factors.reconstruct().mapv(f64::from);
    assert!(weight.row(1).iter().chain(weight.row(32)).all(|&w| w == 0.0), "rows of zeros");
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let specials: [&[(usize, f32)]; 9] = [
        &[],
        &[(3, inf)],
        &[(3, -inf)],
        &[(0, inf), (1, inf)],
        &[(0, inf), (1, -inf)],
        &[(2, inf), (12, -inf), (23, inf)],
        &[(7, nan)],
        &[(2, inf), (7, nan)],
        &[(23, nan), (22, -nan)],
    ];
    let mut x = inputs(specials.len(), 24, 2);
    for (vector, special) in specials.iter().enumerate() {
        special.iter().for_each(|&(j, value)| x[[vector, j]] = value);
    }
    let packed = PackedFactorization::new(&factors, Precision::F32).expect("fits");
    let together = apply(&packed, &x);
    assert_like_dense(&weight, &x, &together);
    assert!(together.row(1).iter().any(|y| y.is_infinite()) && together.row(6).iter().all(|y| y.is_nan()));
    let many = Array2::from_shape_fn((7 * specials.len() + 3, 24), |(i, j)| x[[i % specials.len(), j]]);
    assert_like_dense(&weight, &many, &apply(&packed, &many));
    for vector in 0..specials.len() {
        let alone = x.row(vector).to_owned().insert_axis(ndarray::Axis(0));
        assert_like_dense(&weight, &alone, &apply(&packed, &alone));
    }
}

#[test]
fn a_special_vector_leaves_its_neighbours_alone() {
    let factors = Shape::new(150, 84, 50, 28).factors(6, false);
    let packed = PackedFactorization::new(&factors, Precision::Bf16).expect("fits");
    let x = inputs(140, 84, 2);
    let plain = apply(&packed, &x);
    let mut special = x.clone();
    for vector in [0, 5, 33, 63, 130] {
        special[[vector, 17]] = if vector == 5 { f32::NAN } else { f32::INFINITY };
    }
    let y = apply(&packed, &special);
    for vector in 0..140 {
        let same = y.row(vector) == plain.row(vector);
        assert_eq!(same, ![0, 5, 33, 63, 130].contains(&vector), "vector {vector}");
    }
}

#[test]
fn zeros_give_zeros() {
    for pattern in [(2, 4), (1, 4)] {
        let factors = Shape { pattern, ..Shape::new(21, 24, 8, 8) }.factors(1, false);
        let packed = PackedFactorization::new(&factors, Precision::F16).expect("fits");
        for zero in [0.0, -0.0] {
            assert_eq!(apply(&packed, &Array2::from_elem((67, 24), zero)), Array2::<f32>::zeros((67, 21)));
        }
    }
}
