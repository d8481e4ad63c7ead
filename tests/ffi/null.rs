//! NULL where there must be something is ARMOR_NULL_POINTER, with the argument's name.

use std::ptr;

use armor_core::ffi::*;

use crate::setup::*;

#[test]
fn views_and_results_of_a_run() {
    let small = Small::new();
    let (weight, hessian) = (small.matrix(), small.hessian());
    let mut out = untouched();
    let null = |argument: &str, status| assert_refused(status, ARMOR_NULL_POINTER, &format!("{argument}: is NULL"));
    null("weight", factorize_c(ptr::null(), &hessian, ptr::null(), &mut out));
    null("hessian", factorize_c(&weight, ptr::null(), ptr::null(), &mut out));
    null("out", factorize_c(&weight, &hessian, ptr::null(), ptr::null_mut()));
    let empty = MatrixView { data: ptr::null(), ..weight };
    null("weight.data", factorize_c(&empty, &hessian, ptr::null(), &mut out));
    for kind in [ARMOR_HESSIAN_DIAGONAL, ARMOR_HESSIAN_FULL] {
        let empty = HessianView { data: ptr::null(), row_stride: 16, kind, ..hessian };
        null("hessian.data", factorize_c(&weight, &empty, ptr::null(), &mut out));
    }
    assert_eq!(out, untouched());
}

#[test]
fn handles() {
    let null = |argument: &str, status| assert_refused(status, ARMOR_NULL_POINTER, &format!("{argument}: is NULL"));
    let (options, factorization) = (ptr::null_mut(), ptr::null());
    let (mut floats, mut bits, mut doubles) = ([0.0_f32; 4], [0_u8; 4], [0.0_f64; 4]);
    let (floats, bits, doubles, none) = (floats.as_mut_ptr(), bits.as_mut_ptr(), doubles.as_mut_ptr(), ptr::null_mut());
    // SAFETY: the buffers are as long as they say.
    unsafe {
        null("options", armor_options_set_method(options, ARMOR_METHOD_EXACT));
        null("options", armor_options_set_left_block(options, 8));
        null("options", armor_options_set_right_block(options, 8));
        null("options", armor_options_set_pattern(options, 2, 4));
        null("options", armor_options_set_iterations(options, 8));
        null("options", armor_options_set_time_budget(options, 8.0));
        null("options", armor_options_set_tolerance(options, 0.5));
        null("options", armor_options_set_patience(options, 8));
        null("options", armor_options_set_temperature(options, 0.5));
        null("options", armor_options_set_max_extrapolation(options, 0.5));
        null("options", armor_options_set_learning_rate(options, 0.5));
        null("options", armor_options_set_seed(options, 8));
        null("options", armor_options_set_threads(options, 8));
        null("factorization", armor_factorization_copy_left(factorization, floats, 4, none));
        null("factorization", armor_factorization_copy_right(factorization, floats, 4, none));
        null("factorization", armor_factorization_copy_core_values(factorization, floats, 4, none));
        null("factorization", armor_factorization_copy_core_bitmask(factorization, bits, 4, none));
        null("factorization", armor_factorization_copy_core_dense(factorization, floats, 4, none));
        null("factorization", armor_factorization_copy_history(factorization, doubles, 4, none));
        null("factorization", armor_factorization_reconstruct(factorization, floats, 4, none));
        null("factorization", armor_factorization_apply(factorization, floats, 4, floats, 4, none));
        null("factorization", armor_factorization_serialize(factorization, c"x".as_ptr(), bits, 4, none));
        null("factorization", armor_factorization_get_sizes(factorization, ptr::dangling_mut()));
        null("factorization", armor_factorization_get_report(factorization, ptr::dangling_mut()));
        null("out", armor_options_create(ARMOR_PRESET_EXACT, ptr::null_mut()));
    }
}

#[test]
fn memory_of_a_copy() {
    let small = Small::new();
    let factorization = small.in_c();
    let handle = factorization.pointer;
    let null = |argument: &str, status| assert_refused(status, ARMOR_NULL_POINTER, &format!("{argument}: is NULL"));
    let mut needed = 7;
    let mut out = untouched();
    let mut y = [0.0_f32; 12];
    // SAFETY: the buffers are as long as they say.
    unsafe {
        null("buffer", armor_factorization_copy_left(handle, ptr::null_mut(), 1, &mut needed));
        null("buffer", armor_factorization_reconstruct(handle, ptr::null_mut(), usize::MAX, &mut needed));
        null("buffer", armor_factorization_serialize(handle, c"x".as_ptr(), ptr::null_mut(), 9, &mut needed));
        null("name", armor_factorization_serialize(handle, ptr::null(), ptr::null_mut(), 0, &mut needed));
        null("x", armor_factorization_apply(handle, ptr::null(), 16, y.as_mut_ptr(), 12, &mut needed));
        null("y", armor_factorization_apply(handle, small.diagonal.as_ptr(), 16, ptr::null_mut(), 12, &mut needed));
        null("out", armor_factorization_get_sizes(handle, ptr::null_mut()));
        null("out", armor_factorization_get_report(handle, ptr::null_mut()));
        null("bytes", armor_factorization_deserialize(ptr::null(), 0, c"x".as_ptr(), &mut out));
        null("name", armor_factorization_deserialize(b"x".as_ptr(), 1, ptr::null(), &mut out));
        null("out", armor_factorization_deserialize(b"x".as_ptr(), 1, c"x".as_ptr(), ptr::null_mut()));
    }
    assert_eq!((needed, out), (7, untouched()));
}

#[test]
fn freeing_nothing_is_fine() {
    // SAFETY: NULL is allowed.
    unsafe {
        assert_ok(armor_options_free(ptr::null_mut()));
        assert_ok(armor_factorization_free(ptr::null_mut()));
    }
}

#[test]
fn a_handle_of_another_type() {
    let small = Small::new();
    let (factorization, options) = (small.in_c(), small_options());
    let mut out = untouched();
    let wrong = factorize_c(&small.matrix(), &small.hessian(), factorization.pointer.cast(), &mut out);
    assert_refused(wrong, ARMOR_WRONG_HANDLE, "options: is not a handle of options");
    // SAFETY: both handles are alive, if not of the type that is asked for.
    unsafe {
        let wrong = armor_options_free(factorization.pointer.cast());
        assert_refused(wrong, ARMOR_WRONG_HANDLE, "options: is not a handle of options");
        let wrong = armor_factorization_free(options.pointer.cast());
        assert_refused(wrong, ARMOR_WRONG_HANDLE, "factorization: is not a handle of a factorization");
        let wrong = armor_factorization_reconstruct(options.pointer.cast(), ptr::null_mut(), 0, ptr::null_mut());
        assert_refused(wrong, ARMOR_WRONG_HANDLE, "factorization: is not a handle of a factorization");
    }
    assert_eq!(out, untouched());
}
