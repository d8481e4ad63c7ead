//! Sizes beyond the address space are ARMOR_SIZE_OVERFLOW, whatever memory is behind the pointer.

use std::ptr;

use armor_core::ffi::*;

use crate::setup::*;

const HUGE: usize = 1 << (usize::BITS - 2);

#[test]
fn rows_times_row_stride() {
    let small = Small::new();
    let mut out = untouched();
    let identity = HessianView { kind: ARMOR_HESSIAN_IDENTITY, ..small.hessian() };
    for (rows, row_stride, message) in [
        (12, usize::MAX, format!("weight: 12 rows of {} elements reach beyond the address space", usize::MAX)),
        (usize::MAX, 16, format!("weight: {} rows of 16 elements reach beyond the address space", usize::MAX)),
        (1 << 33, 1 << 33, format!("weight: {0} rows of {0} elements reach beyond the address space", 1_u64 << 33)),
    ] {
        let weight = MatrixView { rows, row_stride, ..small.matrix() };
        assert_refused(factorize_c(&weight, &identity, ptr::null(), &mut out), ARMOR_SIZE_OVERFLOW, &message);
    }
    // Elements that a usize can count, but whose bytes an isize cannot; a stride that leads nowhere, for one row.
    for (rows, row_stride, dtype) in [
        (2, HUGE, ARMOR_DTYPE_F32),
        (2, HUGE, ARMOR_DTYPE_F64),
        (4, HUGE / 2, ARMOR_DTYPE_F16),
        (HUGE / 16, 16, ARMOR_DTYPE_BF16),
        (1, usize::MAX, ARMOR_DTYPE_F32),
        (1, HUGE, ARMOR_DTYPE_F16),
    ] {
        let weight = MatrixView { rows, row_stride, dtype, ..small.matrix() };
        let message = format!("weight: {rows} rows of {row_stride} elements reach beyond the address space");
        assert_refused(factorize_c(&weight, &identity, ptr::null(), &mut out), ARMOR_SIZE_OVERFLOW, &message);
    }
    // Memory that would run over its end.
    let last = ptr::without_provenance(usize::MAX - 7);
    let weight = MatrixView { data: last, ..small.matrix() };
    assert_eq!(factorize_c(&weight, &identity, ptr::null(), &mut out), ARMOR_SIZE_OVERFLOW);
    let message = last_message();
    assert!(message.starts_with("weight.data: ") && message.ends_with(" beyond the address space"), "{message}");
    assert_eq!(out, untouched());
}

#[test]
fn a_full_hessian() {
    let small = Small::new();
    let mut out = untouched();
    let full = HessianView { row_stride: usize::MAX, kind: ARMOR_HESSIAN_FULL, ..small.hessian() };
    let message = format!("hessian: 16 rows of {} elements reach beyond the address space", usize::MAX);
    assert_refused(factorize_c(&small.matrix(), &full, ptr::null(), &mut out), ARMOR_SIZE_OVERFLOW, &message);
    let full = HessianView { row_stride: HUGE / 16, ..full };
    let message = format!("hessian: 16 rows of {} elements reach beyond the address space", HUGE / 16);
    assert_refused(factorize_c(&small.matrix(), &full, ptr::null(), &mut out), ARMOR_SIZE_OVERFLOW, &message);
    assert_eq!(out, untouched());
}

#[test]
fn buffers() {
    let small = Small::new();
    let factorization = small.in_c();
    let handle = factorization.pointer;
    let mut room = [0.0_f64; 4];
    let mut out = untouched();
    let floats = room.as_mut_ptr().cast::<f32>();
    // SAFETY: sizes that no memory can have must be refused before any of it is touched.
    unsafe {
        for status in [
            armor_factorization_copy_left(handle, floats, usize::MAX, ptr::null_mut()),
            armor_factorization_copy_history(handle, room.as_mut_ptr(), usize::MAX / 8, ptr::null_mut()),
            armor_factorization_copy_core_bitmask(handle, floats.cast(), usize::MAX, ptr::null_mut()),
            armor_factorization_apply(handle, floats, HUGE, floats, 4, ptr::null_mut()),
            armor_factorization_serialize(handle, c"x".as_ptr(), floats.cast(), usize::MAX, ptr::null_mut()),
            armor_factorization_deserialize(floats.cast(), usize::MAX, c"x".as_ptr(), &mut out),
        ] {
            assert_eq!(status, ARMOR_SIZE_OVERFLOW);
        }
    }
    assert_eq!((room, out), ([0.0; 4], untouched()));
}
