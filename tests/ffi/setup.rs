//! A small layer, its views, and handles that free themselves.

use std::ffi::{CStr, c_void};
use std::ptr;
use std::sync::OnceLock;

use armor_core::ffi::*;
use armor_core::{Factorization, Hessian, Options, factorize};
use ndarray::{Array1, Array2};

use crate::common;

/// A status with which a call was refused, and why.
#[track_caller]
pub fn assert_refused(status: u32, expected: u32, message: &str) {
    assert_eq!((status, last_message().as_str()), (expected, message));
}

#[track_caller]
pub fn assert_ok(status: u32) {
    assert_eq!(status, ARMOR_OK, "{}", last_message());
}

pub fn last_message() -> String {
    // SAFETY: the message lives until this thread's next failure.
    unsafe { CStr::from_ptr(armor_last_error_message()) }.to_str().expect("messages are UTF-8").to_owned()
}

/// Block sizes and iterations of a run on the small layer. Miri takes ten thousand times as long as a processor.
pub const LEFT_BLOCK: usize = if cfg!(miri) { 5 } else { 8 };
pub const RIGHT_BLOCK: usize = if cfg!(miri) { 4 } else { 8 };
pub const ITERATIONS: usize = if cfg!(miri) { 1 } else { 4 };

/// Threads that call at once: eight, but for Miri.
pub const THREADS: usize = if cfg!(miri) { 2 } else { 8 };

/// How often a test repeats what has to hold each time: once or twice will do for Miri.
pub fn repeats(count: usize) -> usize {
    if cfg!(miri) { count.min(2) } else { count }
}

/// A layer of 12 × 16, whose last left block is smaller than the others.
#[derive(PartialEq)]
pub struct Small {
    pub weight: Array2<f32>,
    pub diagonal: Array1<f32>,
}

impl Small {
    pub fn new() -> Self {
        Small { weight: common::weight(12, 16, 1), diagonal: common::hessian(16, 1) }
    }

    pub fn matrix(&self) -> MatrixView {
        let (rows, cols) = self.weight.dim();
        MatrixView { data: self.weight.as_ptr().cast(), rows, cols, row_stride: cols, dtype: ARMOR_DTYPE_F32 }
    }

    pub fn hessian(&self) -> HessianView {
        HessianView {
            data: self.diagonal.as_ptr().cast(),
            len: self.diagonal.len(),
            row_stride: 0,
            kind: ARMOR_HESSIAN_DIAGONAL,
            dtype: ARMOR_DTYPE_F32,
        }
    }

    pub fn options() -> Options {
        Options::exact().left_block(LEFT_BLOCK).right_block(RIGHT_BLOCK).iterations(ITERATIONS).seed(3)
    }

    /// What the crate makes of this layer.
    pub fn in_rust(&self) -> Factorization {
        static MADE: OnceLock<Factorization> = OnceLock::new();
        if cfg!(miri) && *self == Small::new() { MADE.get_or_init(|| self.run()).clone() } else { self.run() }
    }

    fn run(&self) -> Factorization {
        let hessian = Hessian::diagonal(&self.diagonal).expect("valid");
        let layer = armor_core::Layer::new(&self.weight, hessian).expect("valid");
        factorize(&layer, &Self::options()).expect("runs")
    }

    /// What the ABI makes of it.
    pub fn in_c(&self) -> Owned<FactorizationHandle> {
        let mut out = ptr::null_mut();
        if cfg!(miri) {
            // One run serves all tests.
            let bytes = self.in_rust().to_safetensors("small").expect("fits");
            // SAFETY: the bytes are as many as they say.
            assert_ok(unsafe {
                armor_factorization_deserialize(bytes.as_ptr(), bytes.len(), c"small".as_ptr(), &mut out)
            });
        } else {
            let options = small_options();
            assert_ok(factorize_c(&self.matrix(), &self.hessian(), options.pointer, &mut out));
        }
        own(out)
    }
}

/// A handle that frees itself.
pub struct Owned<T> {
    pub pointer: *mut T,
    pub free: unsafe extern "C" fn(*mut T) -> u32,
}

// SAFETY: the ABI lets any thread use its handles.
unsafe impl<T> Sync for Owned<T> {}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: made by the library, and freed once.
        assert_eq!(unsafe { (self.free)(self.pointer) }, ARMOR_OK);
    }
}

impl<T> Owned<T> {
    pub fn new(pointer: *mut T, free: unsafe extern "C" fn(*mut T) -> u32) -> Self {
        assert!(!pointer.is_null());
        Owned { pointer, free }
    }
}

pub fn own(pointer: *mut FactorizationHandle) -> Owned<FactorizationHandle> {
    Owned::new(pointer, armor_factorization_free)
}

#[track_caller]
pub fn factorized(
    weight: &MatrixView,
    hessian: &HessianView,
    options: *const OptionsHandle,
) -> Owned<FactorizationHandle> {
    let mut out = ptr::null_mut();
    assert_ok(factorize_c(weight, hessian, options, &mut out));
    own(out)
}

/// The call without a progress function.
pub fn factorize_c(
    weight: *const MatrixView,
    hessian: *const HessianView,
    options: *const OptionsHandle,
    out: *mut *mut FactorizationHandle,
) -> u32 {
    // SAFETY: tests pass valid memory, or pointers that the library must refuse.
    unsafe { armor_factorize(weight, hessian, options, None, ptr::null_mut::<c_void>(), out) }
}

pub fn new_options(preset: u32) -> Owned<OptionsHandle> {
    let mut pointer = ptr::null_mut();
    // SAFETY: out is a local.
    assert_ok(unsafe { armor_options_create(preset, &mut pointer) });
    Owned { pointer, free: armor_options_free }
}

/// The ABI's twin of [`Small::options`].
pub fn small_options() -> Owned<OptionsHandle> {
    let options = new_options(ARMOR_PRESET_EXACT);
    // SAFETY: the handle is alive.
    unsafe {
        assert_ok(armor_options_set_left_block(options.pointer, LEFT_BLOCK));
        assert_ok(armor_options_set_right_block(options.pointer, RIGHT_BLOCK));
        assert_ok(armor_options_set_iterations(options.pointer, ITERATIONS));
        assert_ok(armor_options_set_seed(options.pointer, 3));
    }
    options
}

/// A result pointer that no call may have touched when it failed.
pub fn untouched() -> *mut FactorizationHandle {
    ptr::without_provenance_mut(0x5a5a)
}

/// Reconstructs to compare runs to the bit.
pub fn reconstruction(factorization: &Owned<FactorizationHandle>) -> Vec<u32> {
    let mut len = 0;
    let pointer = factorization.pointer;
    // SAFETY: the handle is alive, and the buffer as long as it says.
    unsafe {
        assert_eq!(armor_factorization_reconstruct(pointer, ptr::null_mut(), 0, &mut len), ARMOR_BUFFER_TOO_SMALL);
        let mut values = vec![0.0_f32; len];
        assert_ok(armor_factorization_reconstruct(pointer, values.as_mut_ptr(), len, ptr::null_mut()));
        values.into_iter().map(f32::to_bits).collect()
    }
}
