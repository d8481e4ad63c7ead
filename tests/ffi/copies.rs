//! Copies: the crate's own numbers, sizes on request, and buffers that stay as they are when a call fails.

use std::ffi::CStr;
use std::ptr;

use armor_core::Factorization;
use armor_core::ffi::*;

use crate::library::{report, sizes};
use crate::setup::*;

type Copy<T> = unsafe extern "C" fn(*const FactorizationHandle, *mut T, usize, *mut usize) -> u32;

/// Copies an array in every way there is; returns it.
fn copied<T: Clone + PartialEq + std::fmt::Debug>(
    factorization: &Owned<FactorizationHandle>,
    copy: Copy<T>,
    sentinel: T,
) -> Vec<T> {
    let handle = factorization.pointer;
    let mut needed = usize::MAX;
    // SAFETY: the handle is alive, and the buffers are as long as they say.
    unsafe {
        let status = copy(handle, ptr::null_mut(), 0, &mut needed);
        let message = format!("buffer: holds 0 elements, needs {needed}");
        assert_refused(status, ARMOR_BUFFER_TOO_SMALL, &message);
        assert_eq!(copy(handle, ptr::null_mut(), 0, ptr::null_mut()), ARMOR_BUFFER_TOO_SMALL);
        let mut buffer = vec![sentinel.clone(); needed + 1];
        let mut again = usize::MAX;
        let status = copy(handle, buffer.as_mut_ptr(), needed - 1, &mut again);
        let message = format!("buffer: holds {} elements, needs {needed}", needed - 1);
        assert_refused(status, ARMOR_BUFFER_TOO_SMALL, &message);
        assert_eq!(again, needed);
        assert!(buffer.iter().all(|value| *value == sentinel), "nothing is written where there is no room");
        again = usize::MAX;
        assert_ok(copy(handle, buffer.as_mut_ptr(), needed + 1, &mut again));
        assert_eq!(again, needed);
        assert_eq!(buffer.pop(), Some(sentinel), "nothing is written behind the array");
        let exact = buffer.clone();
        assert_ok(copy(handle, buffer.as_mut_ptr(), needed, ptr::null_mut()));
        assert_eq!(buffer, exact);
        buffer
    }
}

#[test]
fn they_are_what_the_crate_gives() {
    let small = Small::new();
    let (expected, found) = (small.in_rust(), small.in_c());
    let flat = |values: &[f32]| values.to_vec();
    let left = copied(&found, armor_factorization_copy_left, f32::MAX);
    assert_eq!(left, flat(expected.left().to_padded().as_slice().expect("contiguous")));
    let right = copied(&found, armor_factorization_copy_right, f32::MAX);
    assert_eq!(right, flat(expected.right().to_padded().as_slice().expect("contiguous")));
    let values = copied(&found, armor_factorization_copy_core_values, f32::MAX);
    assert_eq!(values, flat(expected.core().to_compressed().as_slice().expect("contiguous")));
    let bitmask = copied(&found, armor_factorization_copy_core_bitmask, 0);
    assert_eq!(bitmask, expected.core().to_bitmask().into_iter().collect::<Vec<_>>());
    let dense = copied(&found, armor_factorization_copy_core_dense, f32::MAX);
    assert_eq!(dense, flat(expected.core().to_dense().as_slice().expect("contiguous")));
    let history = copied(&found, armor_factorization_copy_history, f64::MAX);
    assert_eq!(history, expected.history());
    let product = copied(&found, armor_factorization_reconstruct, f32::MAX);
    assert_eq!(product, flat(expected.reconstruct().as_slice().expect("contiguous")));

    let lengths = [left.len(), right.len(), values.len(), bitmask.len(), dense.len(), product.len(), history.len()];
    assert_sizes(&sizes(&found), &expected, lengths);
}

fn assert_sizes(sizes: &FactorizationSizes, expected: &Factorization, lengths: [usize; 7]) {
    assert_eq!(sizes.struct_size, size_of::<FactorizationSizes>());
    assert_eq!((sizes.rows, sizes.cols), (12, 16));
    assert_eq!((sizes.left_block, sizes.left_blocks), (LEFT_BLOCK, expected.left().blocks()));
    assert_eq!((sizes.right_block, sizes.right_blocks), (RIGHT_BLOCK, expected.right().blocks()));
    assert_eq!((sizes.pattern_n, sizes.pattern_m), (2, 4));
    let told =
        [sizes.left, sizes.right, sizes.core_values, sizes.core_bitmask, sizes.dense, sizes.dense, sizes.history];
    assert_eq!(told, lengths);
}

#[test]
fn structs_say_how_much_was_written() {
    let found = Small::new().in_c();
    assert_eq!(sizes(&found).struct_size, size_of::<FactorizationSizes>());
    assert_eq!(report(&found).struct_size, size_of::<RunReport>());
    // SAFETY: the name lives as long as the library.
    assert_eq!(unsafe { CStr::from_ptr(armor_stop_reason_name(99)) }, c"unknown");
}

#[test]
fn a_product_needs_room() {
    let found = Small::new().in_c();
    let x: Vec<f32> = (0..16).map(|j| j as f32 - 7.5).collect();
    let mut y = [f32::MAX; 13];
    let mut needed = 0;
    // SAFETY: the handle is alive, and the buffers are as long as they say.
    let mut apply = |y: &mut [f32]| unsafe {
        armor_factorization_apply(found.pointer, x.as_ptr(), 16, y.as_mut_ptr(), y.len(), &mut needed)
    };
    assert_refused(apply(&mut y[..11]), ARMOR_BUFFER_TOO_SMALL, "y: holds 11 elements, needs 12");
    assert_eq!(y, [f32::MAX; 13]);
    assert_ok(apply(&mut y));
    assert!(y[..12].iter().all(|&y| y != f32::MAX));
    assert_eq!((y[12], needed), (f32::MAX, 12));
}
