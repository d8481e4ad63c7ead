//! The call that factorises a layer.

use std::ffi::c_void;

use super::handle::FactorizationHandle;
use crate::descent::options::Options;
use crate::descent::run::Descent;
use crate::ffi::failure::Failure;
use crate::ffi::guard::guard;
use crate::ffi::opaque;
use crate::ffi::options::{OptionsHandle, snapshot};
use crate::ffi::pointer::{Out, Span, input};
use crate::ffi::progress::{Callback, ProgressFn};
use crate::ffi::view::{HessianView, MatrixView};
use crate::input::layer::Layer;
use crate::result::factorization::Factorization;

/// Factorises a weight (m x k) under the Hessian of its k inputs, and writes a handle of the result to out. Free the
/// handle with armor_factorization_free. The library reads weight and hessian in place, and only during the call.
///
/// options may be NULL, which means the preset ARMOR_PRESET_EXACT. progress may be NULL. The library passes user to
/// progress unchanged; user may be NULL. If progress cancels the run, the call succeeds: the result is the best state so
/// far, and its report contains ARMOR_STOP_CANCELLED.
///
/// Any thread may call this function, and several threads may call it at the same time. It fails with ARMOR_NULL_POINTER,
/// ARMOR_MISALIGNED, ARMOR_OVERLAP (out is inside memory that the call reads), ARMOR_SIZE_OVERFLOW, ARMOR_UNKNOWN_DTYPE,
/// ARMOR_UNKNOWN_VALUE, ARMOR_INVALID_SHAPE (an empty weight, a row stride below the number of columns, a Hessian for
/// another number of columns, or columns that are not a multiple of the pattern's M), ARMOR_NOT_FINITE (the message
/// contains the row and column), ARMOR_NEGATIVE, ARMOR_OPTION_OUT_OF_RANGE, ARMOR_WRONG_HANDLE or ARMOR_THREADS. With
/// ARMOR_OBJECTIVE_FULL it also fails with ARMOR_HESSIAN_NOT_FULL, ARMOR_ASYMMETRIC or ARMOR_MEMORY_LIMIT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_factorize(
    weight: *const MatrixView,
    hessian: *const HessianView,
    options: *const OptionsHandle,
    progress: ProgressFn,
    user: *mut c_void,
    out: *mut *mut FactorizationHandle,
) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let (weight, hessian) = unsafe { (&input("weight", weight, 1)?[0], &input("hessian", hessian, 1)?[0]) };
        let views = [Span::new("weight", weight, 1)?, Span::new("hessian", hessian, 1)?];
        let out = Out::new("out", out)?.apart_from(&views)?;
        // SAFETY: the caller keeps the module's contract.
        let (options, out) = unsafe { chosen(options, out)? };
        // SAFETY: the caller keeps the module's contract.
        let (weight, weight_span) = unsafe { weight.weight()? };
        out.span.is_apart_from(&[weight_span])?;
        // SAFETY: the caller keeps the module's contract.
        let (hessian, hessian_span) = unsafe { hessian.hessian(weight.dim().1, options.objective)? };
        out.span.is_apart_from(hessian_span.as_slice())?;
        let layer = Layer::new(weight, hessian)?;
        let callback = progress.map(|function| Callback { function, user });
        let result = run(&layer, &options, callback)?;
        // SAFETY: the caller keeps the module's contract.
        unsafe { out.write(opaque::create(result)) };
        Ok(())
    })
}

/// Reads the caller's options, or those of the exact preset for NULL, and checks that `out` is not inside them.
///
/// # Safety
/// The contract of [`crate::ffi`].
unsafe fn chosen<T>(options: *const OptionsHandle, out: Out<T>) -> Result<(Options, Out<T>), Failure> {
    if options.is_null() {
        return Ok((Options::exact(), out));
    }
    // SAFETY: the caller keeps the contract.
    let (options, memory) = unsafe { snapshot(options)? };
    Ok((options, out.apart_from(&[memory])?))
}

/// Factorises the layer, and calls the caller's progress function after every iteration.
fn run(layer: &Layer<'_>, options: &Options, callback: Option<Callback>) -> Result<Factorization, Failure> {
    let mut descent = Descent::new(options)?;
    if let Some(callback) = callback {
        descent = descent.observer(move |progress| callback.call(progress));
    }
    Ok(descent.run(layer)?)
}
