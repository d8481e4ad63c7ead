//! Views that no layer of the crate can be: unknown constants, and shapes that only a view can have.

use std::ptr;

use armor_core::ffi::*;

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
}
