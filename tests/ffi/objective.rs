//! The full objective and the output error: arguments that are refused.

use std::ptr;

use armor_core::ffi::*;
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
        // Only the ABI has the weight as an argument of its own.
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
