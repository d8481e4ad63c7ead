//! Sizes are those that the documentation tells.

use armor_core::{PackedFactorization, Precision};

use crate::setup::*;

#[test]
fn bytes_are_values_codes_and_wrappers() {
    for precision in PRECISIONS {
        let number = precision.width();
        let packed =
            PackedFactorization::new(&Shape::new(256, 640, 64, 128).factors(1, false), precision).expect("fits");
        let bytes = packed.bytes();
        assert_eq!(bytes.core, 256 * (320 * number + 640 / 40 * 4));
        assert_eq!((bytes.left, bytes.right), (256 * 64 * number, 640 * 128 * number));
        assert_eq!(bytes.total(), bytes.left + bytes.core + bytes.right);
    }
}

#[test]
fn a_core_in_bf16_takes_at_most_0_57_of_the_dense_weight() {
    for cols in [4096, 11008, 13824] {
        let shape = Shape::new(16, cols, 16, 128);
        let packed = PackedFactorization::new(&shape.factors(1, false), Precision::Bf16).expect("fits");
        let dense = 2 * 16 * cols;
        assert!(packed.bytes().core as f64 <= 0.57 * dense as f64, "{} of {dense}", packed.bytes().core);
    }
}

#[test]
fn rows_are_padded_to_sixteen() {
    let of = |rows, left| {
        let factors = Shape::new(rows, 40, left, 40).factors(1, false);
        PackedFactorization::new(&factors, Precision::F32).expect("fits").bytes()
    };
    assert_eq!(of(1, 1).core, of(16, 1).core);
    assert_eq!(of(17, 1).core, 2 * of(16, 1).core);
    assert_eq!((of(5, 5).left, of(16, 16).left), (16 * 6 * 4, 16 * 16 * 4));
}
