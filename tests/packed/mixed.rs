//! Each factor in a number type of its own.

use armor_core::{Error, FactorPrecision, Factorization, Format, PackedFactorization, Precision};

use crate::common::{Mat, dense, dense_core};
use crate::setup::*;
use crate::twin::{assert_within_two_ulps_of_twin, rounded};

/// Every choice of three types.
fn mixtures() -> impl Iterator<Item = FactorPrecision> {
    let pairs = PRECISIONS.into_iter().flat_map(|left| PRECISIONS.map(|core| (left, core)));
    pairs.flat_map(|(left, core)| PRECISIONS.map(|right| FactorPrecision { left, core, right }))
}

#[test]
fn every_mixture_is_within_two_scaled_ulps_of_the_twin() {
    for (shape, pattern) in [(Shape::new(70, 84, 33, 28), (2, 4)), (Shape::new(35, 72, 9, 72), (4, 8))] {
        let factors = Shape { pattern, ..shape }.factors(6, false);
        for precision in mixtures() {
            assert_within_two_ulps_of_twin(shape, &factors, precision, &[1, 5, 66]);
        }
    }
}

#[test]
fn every_factor_takes_the_bytes_of_its_own_type() {
    let factors = Shape::new(70, 84, 33, 28).factors(6, false);
    let bytes = |precision: FactorPrecision| PackedFactorization::new(&factors, precision).expect("fits").bytes();
    for precision in mixtures() {
        let FactorPrecision { left, core, right } = precision;
        let expected = (bytes(left.into()).left, bytes(core.into()).core, bytes(right.into()).right);
        let found = bytes(precision);
        assert_eq!((found.left, found.core, found.right), expected, "{precision}");
    }
}

#[test]
fn files_of_mixed_types_are_read_as_the_rounded_factors() {
    let factors = Shape::new(21, 24, 8, 8).factors(1, false);
    for precision in mixtures() {
        let file = factors.export("layer", Format::Factors, precision).expect("fits");
        let read = Factorization::from_safetensors(&file, "layer").expect("sound");
        let expect = |found: Mat, exact: Mat, precision| assert_eq!(found, rounded(&exact, precision), "{precision}");
        expect(dense(read.left()), dense(factors.left()), precision.left);
        expect(dense_core(read.core()), dense_core(factors.core()), precision.core);
        expect(dense(read.right()), dense(factors.right()), precision.right);
        let packed = PackedFactorization::from_safetensors(&file, "layer", precision).expect("sound");
        assert_eq!(packed, PackedFactorization::new(&factors, precision).expect("fits"), "{precision}");
        assert_eq!(read.export("layer", Format::Factors, precision).expect("fits"), file, "{precision}");
    }
}

#[test]
fn a_number_beyond_the_type_of_its_factor_is_named_by_every_writer() {
    let shape = Shape::new(18, 16, 4, 8);
    let f16 = FactorPrecision::from(Precision::F16);
    let others = [
        ("left", FactorPrecision { left: Precision::Bf16, ..f16 }),
        ("core", FactorPrecision { core: Precision::F32, ..f16 }),
        ("right", FactorPrecision { right: Precision::F32, ..f16 }),
    ];
    for (tensor, other) in others {
        // The eleventh number of the factor, and all after it.
        let mut count = 0;
        let factors = shape.factors_of(3, |name| {
            count += usize::from(name == tensor);
            if name == tensor && count > 10 { -1e5 } else { 0.25 }
        });
        let matrix = match tensor {
            "left" => dense(factors.left()),
            "core" => dense_core(factors.core()),
            _ => dense(factors.right()),
        };
        let ((row, col), _) = matrix.indexed_iter().find(|(_, x)| x.abs() > 65_504.0).expect("there is one");
        let expected = Error::Overflow { argument: tensor, row, col, value: -1e5, dtype: "f16" };
        let found = PackedFactorization::new(&factors, f16).expect_err("f16 ends at 65,504");
        assert_eq!(found, expected);
        let message = format!("{tensor}: entry [{row}, {col}] is -100000, beyond the range of f16");
        assert_eq!(found.to_string(), message);
        for format in [Format::Factors, Format::DenseCore, Format::SparseBitmask] {
            assert_eq!(factors.export("layer", format, f16).expect_err("f16 ends at 65,504"), expected, "{format}");
            factors.export("layer", format, other).expect("the factor has another type");
        }
        PackedFactorization::new(&factors, other).expect("the factor has another type");
    }
}

#[test]
fn a_product_beyond_the_type_is_named_by_its_place_in_the_weight() {
    let factors = Shape::new(18, 16, 4, 8).factors_of(3, |_| 200.0);
    let weight = factors.reconstruct();
    let ((row, col), &value) = weight.indexed_iter().find(|(_, x)| **x > 65_504.0).expect("there is one");
    let expected = Error::Overflow { argument: "weight", row, col, value, dtype: "f16" };
    assert_eq!(factors.export("layer", Format::Reconstructed, Precision::F16).expect_err("too large"), expected);
    factors.export("layer", Format::Reconstructed, Precision::Bf16).expect("bf16 has the range of f32");
    factors.export("layer", Format::Factors, Precision::F16).expect("each factor fits");
}

#[test]
fn formats_that_do_not_take_the_types() {
    let factors = Shape::new(32, 32, 16, 16).factors(1, false);
    let bf16 = FactorPrecision::from(Precision::Bf16);
    let mixed = FactorPrecision { left: Precision::F32, ..bf16 };
    let refused = |format, precision| factors.export("layer", format, precision).expect_err("a wrong type").to_string();
    assert_eq!(
        refused(Format::Reconstructed, mixed),
        "format reconstructed: dtype f32, bf16, bf16 does not fit, expected one type"
    );
    assert_eq!(
        refused(Format::Cutlass, FactorPrecision { core: Precision::F32, ..bf16 }),
        "format cutlass: a core of dtype f32 does not fit, expected f16 or bf16"
    );
    factors.export("layer", Format::Cutlass, mixed).expect("the core is bf16");
}
