//! The ABI copies nothing: a run through it allocates what the same run in Rust does, and a handle.

#![cfg(feature = "capi")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use armor_core::ffi::*;
use armor_core::{Hessian, Layer, Options, factorize};

/// Bytes allocated since the program began, freed or not.
static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The smallest count of many tries: other threads of the test harness and the pool allocate now and then.
fn allocated(mut run: impl FnMut()) -> usize {
    let count = |run: &mut dyn FnMut()| {
        let before = ALLOCATED.load(Ordering::Relaxed);
        run();
        ALLOCATED.load(Ordering::Relaxed) - before
    };
    run();
    (0..40).map(|_| count(&mut run)).min().expect("some tries")
}

#[test]
fn a_run_allocates_what_it_does_in_rust() {
    let (weight, diagonal) = (common::weight(256, 128, 1), common::hessian(128, 1));
    let in_rust = allocated(|| {
        let layer = Layer::new(&weight, Hessian::from_diagonal(&diagonal).expect("valid")).expect("valid");
        let options = Options::exact().block(32).iterations(2).threads(1);
        factorize(&layer, &options).expect("runs");
    });
    let matrix =
        MatrixView { data: weight.as_ptr().cast(), rows: 256, cols: 128, row_stride: 128, dtype: ARMOR_DTYPE_F32 };
    let hessian = HessianView {
        data: diagonal.as_ptr().cast(),
        len: 128,
        row_stride: 0,
        kind: ARMOR_HESSIAN_DIAGONAL,
        dtype: ARMOR_DTYPE_F32,
    };
    let in_c = allocated(|| {
        let (mut options, mut out) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: all memory is this function's, and the handles are freed once.
        unsafe {
            assert_eq!(armor_options_create(ARMOR_PRESET_EXACT, &mut options), ARMOR_OK);
            assert_eq!(armor_options_set_left_block(options, 32), ARMOR_OK);
            assert_eq!(armor_options_set_right_block(options, 32), ARMOR_OK);
            assert_eq!(armor_options_set_iterations(options, 2), ARMOR_OK);
            assert_eq!(armor_options_set_threads(options, 1), ARMOR_OK);
            assert_eq!(armor_factorize(&matrix, &hessian, options, None, ptr::null_mut(), &mut out), ARMOR_OK);
            assert_eq!(armor_factorization_free(out), ARMOR_OK);
            assert_eq!(armor_options_free(options), ARMOR_OK);
        }
    });
    let one_row = 128 * size_of::<f32>();
    assert!(in_c < in_rust + 4 * one_row, "{in_c} bytes through the ABI, {in_rust} in Rust");
}
