//! The full objective: what the setters take and refuse, and that runs and errors are those of the crate.

use std::ptr;

use armor_core::ffi::*;
use armor_core::{Hessian, Layer, Objective, RowWeighting, factorize};
use ndarray::Array2;

use crate::common::coupled::full_hessian;
use crate::setup::*;

fn view(full: &Array2<f32>) -> HessianView {
    HessianView {
        data: full.as_ptr().cast(),
        len: full.nrows(),
        row_stride: full.ncols(),
        kind: ARMOR_HESSIAN_FULL,
        dtype: ARMOR_DTYPE_F32,
    }
}

fn full_options() -> Owned<OptionsHandle> {
    let options = small_options();
    // SAFETY: the handle is alive.
    unsafe { assert_ok(armor_options_set_objective(options.pointer, ARMOR_OBJECTIVE_FULL)) };
    options
}

#[test]
fn a_run_is_that_of_the_crate() {
    let small = Small::new();
    let full = full_hessian(16, 40, 1);
    let layer = Layer::new(&small.weight, Hessian::full(&full).expect("valid")).expect("valid");
    let options = full_options();
    // SAFETY: the handle is alive.
    unsafe {
        assert_ok(armor_options_set_shrinkage(options.pointer, 0.2));
        assert_ok(armor_options_set_row_weighting(options.pointer, ARMOR_ROWS_NOWAG));
        assert_ok(armor_options_set_memory_limit(options.pointer, 1 << 20));
    }
    let in_rust = Small::options().objective(Objective::Full).shrinkage(0.2).row_weighting(RowWeighting::NoWag);
    let in_rust = factorize(&layer, &in_rust).expect("runs");
    let in_c = factorized(&small.matrix(), &view(&full), options.pointer);
    let expected: Vec<u32> = in_rust.reconstruct().iter().map(|x| x.to_bits()).collect();
    assert_eq!(reconstruction(&in_c), expected);
    let mut error = f64::NAN;
    // SAFETY: the handle is alive and the rest are locals.
    unsafe {
        assert_ok(armor_factorization_output_error(in_c.pointer, &small.matrix(), &view(&full), &mut error));
    }
    assert_eq!(error.to_bits(), in_rust.output_error(&layer).expect("fits").to_bits());
}

#[test]
fn a_ridge_is_reported() {
    let (small, full) = (Small::new(), full_hessian(16, 3, 2));
    let options = full_options();
    // SAFETY: the handle is alive, and zero is a value of numbers.
    unsafe {
        assert_ok(armor_options_set_shrinkage(options.pointer, 0.0));
        let result = factorized(&small.matrix(), &view(&full), options.pointer);
        let mut report: RunReport = std::mem::zeroed();
        report.struct_size = size_of::<RunReport>();
        assert_ok(armor_factorization_get_report(result.pointer, &mut report));
        assert!(report.ridge > 0.0 && report.ridge < 1e-3, "{}", report.ridge);
    }
}

#[test]
fn what_the_setters_refuse() {
    let options = small_options();
    let o = options.pointer;
    // SAFETY: the handle is alive.
    unsafe {
        let message = "objective: 3 is not an objective, expected 1 or 2";
        assert_refused(armor_options_set_objective(o, 3), ARMOR_UNKNOWN_VALUE, message);
        let message = "row_weighting: 0 is not a weighting of rows, expected 1 or 2";
        assert_refused(armor_options_set_row_weighting(o, 0), ARMOR_UNKNOWN_VALUE, message);
        for alpha in [-0.5, 1.5, f64::NAN] {
            let message = format!("option shrinkage: {alpha} is out of range, expected 0 to 1");
            assert_refused(armor_options_set_shrinkage(o, alpha), ARMOR_OPTION_OUT_OF_RANGE, &message);
        }
        for status in [
            armor_options_set_objective(ptr::null_mut(), 1),
            armor_options_set_row_weighting(ptr::null_mut(), 1),
            armor_options_set_shrinkage(ptr::null_mut(), 0.5),
            armor_options_set_memory_limit(ptr::null_mut(), 5),
        ] {
            assert_refused(status, ARMOR_NULL_POINTER, "options: is NULL");
        }
    }
}

#[test]
fn hessians_that_the_objective_cannot_use() {
    let small = Small::new();
    let options = full_options();
    let mut out = untouched();
    let mut refused = |hessian: &HessianView, status, message: &str| {
        assert_refused(factorize_c(&small.matrix(), hessian, options.pointer, &mut out), status, message);
        assert_eq!(out, untouched());
    };
    let message = "hessian: only its diagonal is known, but the full objective needs all of it";
    refused(&small.hessian(), ARMOR_HESSIAN_NOT_FULL, message);
    let mut full = full_hessian(16, 40, 3);
    (full[[2, 9]], full[[9, 2]]) = (100.0, 50.0);
    let message = "hessian: entry [2, 9] is 100, but [9, 2] is 50, expected a symmetric matrix";
    refused(&view(&full), ARMOR_ASYMMETRIC, message);
    full[[2, 9]] = f32::NAN;
    refused(&view(&full), ARMOR_NOT_FINITE, "hessian: entry [2, 9] is NaN, expected a finite f32 number");
    // SAFETY: the handle is alive.
    unsafe { assert_ok(armor_options_set_memory_limit(options.pointer, 100)) };
    let full = full_hessian(16, 40, 3);
    assert_eq!(factorize_c(&small.matrix(), &view(&full), options.pointer, &mut out), ARMOR_MEMORY_LIMIT);
    assert!(last_message().starts_with("option memory_limit: is 100 bytes, but a 12 × 16 layer needs "));
    assert_eq!(out, untouched());
}

#[test]
fn output_errors_that_are_refused() {
    let (small, full) = (Small::new(), full_hessian(16, 40, 4));
    let result = small.in_c();
    let (weight, hessian) = (small.matrix(), view(&full));
    let mut error = -7.0;
    // SAFETY: the handle is alive; the other pointers are locals, or NULL, or overlap on purpose.
    unsafe {
        let call = |w: *const MatrixView, h: *const HessianView, out: *mut f64| {
            armor_factorization_output_error(result.pointer, w, h, out)
        };
        let null = ARMOR_NULL_POINTER;
        assert_refused(call(ptr::null(), &hessian, &mut error), null, "weight: is NULL");
        assert_refused(call(&weight, ptr::null(), &mut error), null, "hessian: is NULL");
        assert_refused(call(&weight, &hessian, ptr::null_mut()), null, "out: is NULL");
        let status = armor_factorization_output_error(ptr::null(), &weight, &hessian, &mut error);
        assert_refused(status, null, "factorization: is NULL");
        let fewer = MatrixView { rows: 11, ..weight };
        let message = "weight rows: has length 11, expected 12";
        assert_refused(call(&fewer, &hessian, &mut error), ARMOR_INVALID_SHAPE, message);
        let mut wide = small.weight.mapv(f64::from);
        let pointer = wide.as_mut_ptr();
        let weight = MatrixView { data: pointer.cast(), dtype: ARMOR_DTYPE_F64, ..weight };
        assert_eq!(call(&weight, &hessian, pointer), ARMOR_OVERLAP);
    }
    assert_eq!(error, -7.0);
}
