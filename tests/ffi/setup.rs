//! The views of the small layer, and handles that free themselves.

use std::ffi::{CStr, c_void};
use std::ptr;

use armor_core::ffi::*;

use crate::library::{self, Exports};
use crate::suite::layer::SMALL;
pub use crate::suite::layer::{ITERATIONS, LEFT_BLOCK, RIGHT_BLOCK, Small};
use crate::suite::library::{Library, Preset};

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

/// Threads that call at once: eight, but for Miri.
pub const THREADS: usize = if cfg!(miri) { 2 } else { 8 };

/// How often a test repeats what has to hold each time: once or twice will do for Miri.
pub fn repeats(count: usize) -> usize {
    if cfg!(miri) { count.min(2) } else { count }
}

impl Small {
    pub fn matrix(&self) -> MatrixView {
        library::matrix(&self.input().weight)
    }

    pub fn hessian(&self) -> HessianView {
        library::hessian(&self.input().hessian)
    }

    /// Factorises this layer with the ABI.
    pub fn in_c(&self) -> Owned<FactorizationHandle> {
        self.factorized::<Exports>()
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

/// Creates the options [`SMALL`].
pub fn small_options() -> Owned<OptionsHandle> {
    Exports::changed(Preset::Exact, &SMALL)
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
