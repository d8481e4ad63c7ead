//! The call that factorises a layer.

use std::ffi::{c_int, c_void};
use std::ops::ControlFlow;

use super::factorization::FactorizationHandle;
use super::guard::guard;
use super::handle;
use super::options::{OptionsHandle, snapshot};
use super::pointer::{Out, Span, input};
use super::status::Failure;
use super::view::{HessianView, MatrixView};
use crate::descent::options::Options;
use crate::descent::progress::Phase;
use crate::descent::run::Descent;
use crate::input::layer::Layer;

/// Masks are drawn at a temperature above zero: the loss may rise.
pub const ARMOR_PHASE_ANNEALING: u32 = 1;
/// Every step takes the best it can find.
pub const ARMOR_PHASE_DESCENDING: u32 = 2;

/// What a progress function is told after every iteration. New fields go to the end.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// The iteration that has just ended, from 1.
    pub iteration: usize,
    /// Most iterations of the run.
    pub iterations: usize,
    /// Relative proxy loss after it.
    pub loss: f64,
    /// Lowest relative proxy loss so far, that of NoWag-P included.
    pub best_loss: f64,
    /// Seconds since the run began.
    pub seconds: f64,
    /// ARMOR_PHASE_*.
    pub phase: u32,
}

/// Called once an iteration, by one thread at a time but not always the one that called armor_factorize. A result
/// other than 0 cancels the run, which then returns its best state. It must return: no exception and no longjmp may
/// leave it. `progress` lives until it returns; `user` is what armor_factorize was given.
pub type ProgressFn = Option<unsafe extern "C" fn(progress: *const Progress, user: *mut c_void) -> c_int>;

/// A progress function with its user pointer.
pub(super) struct Callback {
    pub function: unsafe extern "C" fn(*const Progress, *mut c_void) -> c_int,
    pub user: *mut c_void,
}

// SAFETY: the ABI says that the function may be called on another thread, so `user` has to bear it.
unsafe impl Send for Callback {}

impl Callback {
    pub fn call(&self, progress: &crate::descent::progress::Progress) -> ControlFlow<()> {
        let progress = Progress {
            iteration: progress.iteration,
            iterations: progress.iterations,
            loss: progress.loss,
            best_loss: progress.best_loss,
            seconds: progress.elapsed.as_secs_f64(),
            phase: match progress.phase {
                Phase::Annealing => ARMOR_PHASE_ANNEALING,
                Phase::Descending => ARMOR_PHASE_DESCENDING,
            },
        };
        // SAFETY: the caller vouches for the function and its user pointer for as long as the run takes.
        let answer = unsafe { (self.function)(&raw const progress, self.user) };
        if answer == 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

/// Factorises a weight, m x k, under the Hessian of its k inputs, and writes the handle of the result to out; free it
/// with armor_factorization_free. weight and hessian are read in place and not kept.
///
/// options may be NULL: the preset exact. progress may be NULL; user is handed to it as it is and may be NULL. A run that
/// progress cancels is a success: its best state, with ARMOR_STOP_CANCELLED in the report.
///
/// Any thread may call it, several at once. Fails with ARMOR_NULL_POINTER, ARMOR_MISALIGNED, ARMOR_OVERLAP (out lies in
/// memory that is read), ARMOR_SIZE_OVERFLOW, ARMOR_UNKNOWN_DTYPE, ARMOR_UNKNOWN_VALUE, ARMOR_INVALID_SHAPE (an empty
/// weight, a row stride below the columns, a Hessian of another length, columns that are no multiple of the pattern's
/// M), ARMOR_NOT_FINITE, ARMOR_NEGATIVE, ARMOR_OPTION_OUT_OF_RANGE, ARMOR_WRONG_HANDLE, ARMOR_THREADS; and with the full
/// objective ARMOR_ASYMMETRIC, ARMOR_HESSIAN_NOT_FULL, ARMOR_MEMORY_LIMIT.
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
        let options = if options.is_null() {
            Options::exact()
        } else {
            // SAFETY: the caller keeps the module's contract.
            let (options, memory) = unsafe { snapshot(options)? };
            out.span.is_apart_from(&[memory])?;
            options
        };
        // SAFETY: the caller keeps the module's contract.
        let (weight, weight_span) = unsafe { weight.weight()? };
        out.span.is_apart_from(&[weight_span])?;
        // SAFETY: the caller keeps the module's contract.
        let (hessian, hessian_span) = unsafe { hessian.hessian(weight.dim().1, options.objective)? };
        out.span.is_apart_from(hessian_span.as_slice())?;
        let layer = Layer::new(weight, hessian)?;
        let mut descent = Descent::new(&options)?;
        if let Some(function) = progress {
            let callback = Callback { function, user };
            descent = descent.observer(move |progress| callback.call(progress));
        }
        let result = descent.run(&layer).map_err(Failure::from)?;
        // SAFETY: the caller keeps the module's contract.
        unsafe { out.write(handle::create(result)) };
        Ok(())
    })
}
