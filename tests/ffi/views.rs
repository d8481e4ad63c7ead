//! What views may look like, and what is wrong in them, to the first bad index.

use std::ptr;

use armor_core::ffi::*;
use half::{bf16, f16};
use ndarray::Array2;

use crate::setup::*;

#[test]
fn foreign_numbers() {
    let small = Small::new();
    let mut out = untouched();
    for dtype in [0, 5, 77, u32::MAX] {
        let weight = MatrixView { dtype, ..small.matrix() };
        let message = format!("weight.dtype: {dtype} is not a dtype, expected 1 to 4");
        let status = factorize_c(&weight, &small.hessian(), ptr::null(), &mut out);
        assert_refused(status, ARMOR_UNKNOWN_DTYPE, &message);
        for kind in [ARMOR_HESSIAN_DIAGONAL, ARMOR_HESSIAN_FULL] {
            let hessian = HessianView { dtype, kind, ..small.hessian() };
            let message = format!("hessian.dtype: {dtype} is not a dtype, expected 1 to 4");
            let status = factorize_c(&small.matrix(), &hessian, ptr::null(), &mut out);
            assert_refused(status, ARMOR_UNKNOWN_DTYPE, &message);
        }
    }
    for kind in [0, 4, u32::MAX] {
        let hessian = HessianView { kind, ..small.hessian() };
        let message = format!("hessian.kind: {kind} is not a kind of Hessian, expected 1 to 3");
        let status = factorize_c(&small.matrix(), &hessian, ptr::null(), &mut out);
        assert_refused(status, ARMOR_UNKNOWN_VALUE, &message);
    }
    assert_eq!(out, untouched());
}

#[test]
fn shapes() {
    let small = Small::new();
    let mut out = untouched();
    let mut refused = |weight: MatrixView, hessian: HessianView, message: &str| {
        assert_refused(factorize_c(&weight, &hessian, ptr::null(), &mut out), ARMOR_INVALID_SHAPE, message);
        assert_eq!(out, untouched());
    };
    let (weight, hessian) = (small.matrix(), small.hessian());
    refused(MatrixView { rows: 0, ..weight }, hessian, "weight: 0 × 16 has no entries");
    refused(MatrixView { cols: 0, ..weight }, hessian, "weight: 12 × 0 has no entries");
    refused(MatrixView { row_stride: 15, ..weight }, hessian, "weight.row_stride: is 15, expected 16 columns or more");
    let long = HessianView { len: 17, ..hessian };
    refused(weight, long, "hessian: covers 17 inputs, but the weight has 16 columns");
    let huge = HessianView { len: usize::MAX, kind: ARMOR_HESSIAN_IDENTITY, ..hessian };
    refused(weight, huge, &format!("hessian: covers {} inputs, but the weight has 16 columns", usize::MAX));
    let full = HessianView { row_stride: 3, kind: ARMOR_HESSIAN_FULL, ..hessian };
    refused(weight, full, "hessian.row_stride: is 3, expected 16 columns or more");
    let (odd, short) = (MatrixView { cols: 15, ..weight }, HessianView { len: 15, ..hessian });
    refused(odd, short, "weight: 15 columns are not a multiple of 4, the group of the 2:4 pattern");
}

/// Views a matrix of any type as a weight of 12 × 16, the rows 20 apart.
fn strided<T>(values: &Array2<T>, dtype: u32) -> MatrixView {
    assert_eq!(values.dim(), (12, 20));
    MatrixView { data: values.as_ptr().cast(), rows: 12, cols: 16, row_stride: 20, dtype }
}

#[test]
fn the_first_value_that_is_not_finite() {
    let small = Small::new();
    let mut out = untouched();
    let mut refused = |weight: MatrixView, message: &str| {
        let status = factorize_c(&weight, &small.hessian(), ptr::null(), &mut out);
        assert_refused(status, ARMOR_NOT_FINITE, message);
        assert_eq!(out, untouched());
    };
    // Bad numbers between the rows do not count.
    let value = |(i, j): (usize, usize), bad: f64| match (i, j) {
        (_, 16..) | (7, 3) | (7, 4) | (9, 0) => bad,
        _ => 1.0,
    };
    let nan = Array2::from_shape_fn((12, 20), |at| value(at, f64::NAN) as f32);
    refused(strided(&nan, ARMOR_DTYPE_F32), "weight: entry [7, 3] is NaN, expected a finite f32 number");
    let vast = Array2::from_shape_fn((12, 20), |at| value(at, -1e300));
    let shown = -1e300_f64;
    refused(strided(&vast, ARMOR_DTYPE_F64), &format!("weight: entry [7, 3] is {shown}, expected a finite f32 number"));
    let half = Array2::from_shape_fn((12, 20), |at| f16::from_f64(value(at, f64::INFINITY)));
    refused(strided(&half, ARMOR_DTYPE_F16), "weight: entry [7, 3] is inf, expected a finite f32 number");
    let brain = Array2::from_shape_fn((12, 20), |at| bf16::from_f64(value(at, f64::NEG_INFINITY)));
    refused(strided(&brain, ARMOR_DTYPE_BF16), "weight: entry [7, 3] is -inf, expected a finite f32 number");
}

#[test]
fn hessians_that_cannot_be() {
    let small = Small::new();
    let mut out = untouched();
    for (value, status, message) in [
        (f32::NAN, ARMOR_NOT_FINITE, "hessian: entry [5, 5] is NaN, expected a finite f32 number"),
        (f32::INFINITY, ARMOR_NOT_FINITE, "hessian: entry [5, 5] is inf, expected a finite f32 number"),
        (-0.5, ARMOR_NEGATIVE, "hessian: diagonal entry 5 is -0.5, expected a non-negative number"),
    ] {
        let mut diagonal = small.diagonal.clone();
        (diagonal[5], diagonal[6]) = (value, value);
        let hessian = HessianView { data: diagonal.as_ptr().cast(), ..small.hessian() };
        assert_refused(factorize_c(&small.matrix(), &hessian, ptr::null(), &mut out), status, message);
        let full = Array2::from_diag(&diagonal);
        let hessian = HessianView { data: full.as_ptr().cast(), row_stride: 16, kind: ARMOR_HESSIAN_FULL, ..hessian };
        assert_refused(factorize_c(&small.matrix(), &hessian, ptr::null(), &mut out), status, message);
    }
    assert_eq!(out, untouched());
}

#[test]
fn every_way_to_write_the_same_layer_gives_the_same_bits() {
    let mut small = Small::new();
    // Numbers that all four types hold exactly.
    small.weight.mapv_inplace(|x| bf16::from_f32(x.clamp(-100.0, 100.0)).to_f32());
    small.weight.mapv_inplace(|x| f16::from_f32(x).to_f32());
    small.weight.mapv_inplace(|x| bf16::from_f32(x).to_f32());
    small.diagonal.mapv_inplace(|x| bf16::from_f32(f16::from_f32(x).to_f32()).to_f32());
    let options = small_options();
    let expected: Vec<u32> = small.in_rust().reconstruct().iter().map(|x| x.to_bits()).collect();
    let spread = |i: usize, j: usize| if j < 16 { small.weight[[i, j]] } else { f32::NAN };
    let wide = Array2::from_shape_fn((12, 20), |(i, j)| spread(i, j));
    let double = wide.mapv(f64::from);
    let half = wide.mapv(f16::from_f32);
    let brain = wide.mapv(bf16::from_f32);
    let weights = [
        small.matrix(),
        strided(&wide, ARMOR_DTYPE_F32),
        strided(&double, ARMOR_DTYPE_F64),
        strided(&half, ARMOR_DTYPE_F16),
        strided(&brain, ARMOR_DTYPE_BF16),
    ];
    for weight in &weights {
        assert_eq!(reconstruction(&factorized(weight, &small.hessian(), options.pointer)), expected);
    }
    let full = Array2::from_shape_fn((16, 24), |(i, j)| if i == j { f64::from(small.diagonal[i]) } else { f64::NAN });
    let diagonals = (small.diagonal.mapv(f16::from_f32), small.diagonal.mapv(bf16::from_f32));
    let view = |data, row_stride, kind, dtype| HessianView { data, len: 16, row_stride, kind, dtype };
    let hessians = [
        view(full.as_ptr().cast(), 24, ARMOR_HESSIAN_FULL, ARMOR_DTYPE_F64),
        view(diagonals.0.as_ptr().cast(), 0, ARMOR_HESSIAN_DIAGONAL, ARMOR_DTYPE_F16),
        view(diagonals.1.as_ptr().cast(), 0, ARMOR_HESSIAN_DIAGONAL, ARMOR_DTYPE_BF16),
    ];
    for hessian in &hessians {
        assert_eq!(reconstruction(&factorized(&small.matrix(), hessian, options.pointer)), expected);
    }
    let identity = view(ptr::null(), 0, ARMOR_HESSIAN_IDENTITY, 0);
    let ones = [1.0_f32; 16];
    let ones = view(ones.as_ptr().cast(), 0, ARMOR_HESSIAN_DIAGONAL, ARMOR_DTYPE_F32);
    let with = |hessian| reconstruction(&factorized(&small.matrix(), hessian, options.pointer));
    assert_eq!(with(&identity), with(&ones));
    assert_ne!(with(&identity), expected);
}
