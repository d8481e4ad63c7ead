//! Unpacked layers: what was packed, rounded, and nothing else.

use armor_core::{FactorPrecision, PackedFactorization};

use crate::setup::*;

#[test]
fn what_is_unpacked_is_what_was_rounded() {
    let edges = [(1, 4, 1, 4), (15, 40, 15, 8), (16, 44, 16, 44), (65, 84, 33, 28), (130, 80, 64, 32), (64, 40, 7, 20)];
    for (rows, cols, left, right) in edges {
        for pattern in [(2, 4), (1, 4), (4, 8)].into_iter().filter(|(_, m)| cols % m == 0 && right % m == 0) {
            let shape = Shape { pattern, ..Shape::new(rows, cols, left, right) };
            for (index, precision) in PRECISIONS.into_iter().enumerate() {
                // Each factor in a type of its own.
                let precision = FactorPrecision {
                    left: precision,
                    core: PRECISIONS[(index + 1) % 3],
                    right: PRECISIONS[(index + 2) % 3],
                };
                let factors = shape.factors(index as u64, false);
                let packed = PackedFactorization::new(&factors, precision).expect("fits");
                let found = packed.unpack();
                assert_eq!(found, factors.rounded(precision).expect("fits"), "{shape:?} {precision}");
                assert_eq!(PackedFactorization::new(&found, precision).expect("fits"), packed, "{shape:?} {precision}");
            }
        }
    }
}

#[test]
fn signs_of_zero_and_kept_zeros_survive() {
    let mut at = 0;
    let number = move |_: &str| {
        at += 1;
        [0.0, -0.0, 1.5, -2.0][at % 4]
    };
    let shape = Shape::new(18, 48, 6, 12);
    for precision in PRECISIONS {
        let factors = shape.factors_of(3, number);
        let found = PackedFactorization::new(&factors, precision).expect("fits").unpack();
        let bits = |values: ndarray::Array2<f32>| values.mapv(f32::to_bits);
        assert_eq!(bits(found.core().to_compressed()), bits(factors.core().to_compressed()));
        assert_eq!(found.core().to_bitmask(), factors.core().to_bitmask());
        assert_eq!(bits(found.left().to_dense()), bits(factors.left().to_dense()));
        assert_eq!(bits(found.right().to_dense()), bits(factors.right().to_dense()));
    }
}
