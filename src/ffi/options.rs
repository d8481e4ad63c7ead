//! Options: a preset, and what is changed of it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::guard::guard;
use super::handle::{self, Opaque};
use super::pointer::{Out, Span};
use super::status::{ARMOR_OPTION_OUT_OF_RANGE, ARMOR_UNKNOWN_VALUE, Failure};
use crate::descent::options::{Method, Options};
use crate::factors::pattern::Pattern;

/// Exact updates, annealed and extrapolated: the default.
pub const ARMOR_PRESET_EXACT: u32 = 1;
/// The paper's procedure.
pub const ARMOR_PRESET_PAPER: u32 = 2;

/// Exact least squares for both wrappers, then a sweep that solves every group exactly.
pub const ARMOR_METHOD_EXACT: u32 = 1;
/// The paper's: one joint Adam step, then one sampled group in every block.
pub const ARMOR_METHOD_PAPER: u32 = 2;
/// The paper's convergence proof: one gradient step on A, B and the core's values, then one sampled group in every block.
pub const ARMOR_METHOD_GRADIENT: u32 = 3;

/// How a layer is factorised. Made by armor_options_create, freed by armor_options_free; any thread may use it at any
/// time, and a run keeps what was set when it began.
#[derive(Debug)]
pub struct OptionsHandle {
    _opaque: (),
}

impl Opaque for OptionsHandle {
    type Inner = Mutex<Options>;
    const TAG: u64 = u64::from_le_bytes(*b"armorOPT");
    const NAME: &'static str = "options";
}

/// What is set now, and the handle's memory.
///
/// # Safety
/// The contract of [`super`].
pub(super) unsafe fn snapshot(options: *const OptionsHandle) -> Result<(Options, Span), Failure> {
    // SAFETY: passed on.
    let (options, memory) = unsafe { handle::borrow("options", options)? };
    Ok((options.lock().unwrap_or_else(PoisonError::into_inner).clone(), memory))
}

/// Changes one option; a value out of its range leaves them as they were.
///
/// # Safety
/// The contract of [`super`].
pub(super) unsafe fn set(options: *mut OptionsHandle, change: impl Fn(Options) -> Options) -> Result<(), Failure> {
    // SAFETY: passed on.
    let (options, _) = unsafe { handle::borrow("options", options)? };
    let mut options = options.lock().unwrap_or_else(PoisonError::into_inner);
    // Tried on a preset, where all else is in range: what fits only together is checked when a run begins. The right
    // block must fit the pattern that is set.
    let trial = Options::exact().right_block(options.pattern.m()).pattern(options.pattern);
    change(trial).validate()?;
    *options = change(options.clone());
    Ok(())
}

/// Makes options of a preset, ARMOR_PRESET_*, and writes their handle to out.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_create(preset: u32, out: *mut *mut OptionsHandle) -> u32 {
    guard(|| {
        let out = Out::new("out", out)?;
        let options = match preset {
            ARMOR_PRESET_EXACT => Options::exact(),
            ARMOR_PRESET_PAPER => Options::paper(),
            other => {
                let message = format!("preset: {other} is not a preset, expected 1 or 2");
                return Err(Failure::new(ARMOR_UNKNOWN_VALUE, message));
            }
        };
        // SAFETY: the caller keeps the module's contract.
        unsafe { out.write(handle::create(Mutex::new(options))) };
        Ok(())
    })
}

/// Frees options; NULL is fine. No run that uses them may be under way.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_free(options: *mut OptionsHandle) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { handle::free("options", options) })
}

/// Sets which updates an iteration is made of, ARMOR_METHOD_*. Default: the preset's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_set_method(options: *mut OptionsHandle, method: u32) -> u32 {
    guard(|| {
        let method = match method {
            ARMOR_METHOD_EXACT => Method::Exact,
            ARMOR_METHOD_PAPER => Method::Paper,
            ARMOR_METHOD_GRADIENT => Method::Gradient,
            other => {
                let message = format!("method: {other} is not a method, expected 1 to 3");
                return Err(Failure::new(ARMOR_UNKNOWN_VALUE, message));
            }
        };
        // SAFETY: the caller keeps the module's contract.
        unsafe { set(options, |options| options.method(method)) }
    })
}

/// Sets the rows of a block of the left wrapper, p, 1 to 4096. Default: 64 (exact), 128 (paper). Larger blocks lower
/// the loss and raise the overhead; one larger than the layer is the whole layer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_set_left_block(options: *mut OptionsHandle, rows: usize) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { set(options, |options| options.left_block(rows)) })
}

/// Sets the columns of a block of the right wrapper, q, 1 to 4096 and a multiple of the pattern's M: set the pattern
/// first. Default: 64 (exact), 128 (paper).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_set_right_block(options: *mut OptionsHandle, cols: usize) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { set(options, |options| options.right_block(cols)) })
}

/// Sets the core's sparsity pattern n:m, 0 < n < m <= 8. Default: 2:4. The layer's columns must be a multiple of m,
/// and so must the right block when a run begins.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_set_pattern(options: *mut OptionsHandle, n: usize, m: usize) -> u32 {
    guard(|| {
        let pattern = Pattern::new(n, m)?;
        // SAFETY: the caller keeps the module's contract.
        let (options, _) = unsafe { handle::borrow("options", options)? };
        let mut options = options.lock().unwrap_or_else(PoisonError::into_inner);
        *options = options.clone().pattern(pattern);
        Ok(())
    })
}

/// Sets the most iterations, 1 to 10,000,000, and with it the annealing's length. Default: 120 (exact), 20,000 (paper).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_set_iterations(options: *mut OptionsHandle, iterations: usize) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { set(options, |options| options.iterations(iterations)) })
}

/// Sets the longest time of a run in seconds, above 0; infinity, the default, is no limit. A run that it shortens is
/// not repeatable to the bit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_set_time_budget(options: *mut OptionsHandle, seconds: f64) -> u32 {
    guard(|| {
        let budget = if seconds == f64::INFINITY { None } else { Some(duration(seconds)?) };
        // SAFETY: the caller keeps the module's contract.
        unsafe { set(options, |options| options.time_budget(budget)) }
    })
}

/// A time above zero; one beyond what a clock can count is as good as that.
fn duration(seconds: f64) -> Result<Duration, Failure> {
    if seconds > 0.0 {
        // A positive time that rounds to zero nanoseconds is still above zero.
        Ok(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX).max(Duration::from_nanos(1)))
    } else {
        let message = format!("option time_budget: {seconds} s is out of range, expected a time above zero");
        Err(Failure::new(ARMOR_OPTION_OUT_OF_RANGE, message))
    }
}

/// Sets the relative fall of the loss that counts as progress, 0 to below 1. Default: 1e-6.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_set_tolerance(options: *mut OptionsHandle, tolerance: f64) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { set(options, |options| options.tolerance(tolerance)) })
}

/// Sets the iterations without progress, while not annealing, before a run stops as converged, at least 1. Default: 100.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_set_patience(options: *mut OptionsHandle, iterations: usize) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { set(options, |options| options.patience(iterations)) })
}

/// Sets the annealing's temperature at the start, 0 (greedy) to 100, in units of the mean loss of one group. Default:
/// 1.5 (exact), 0 (paper). Only ARMOR_METHOD_EXACT anneals.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_set_temperature(options: *mut OptionsHandle, tau: f64) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { set(options, |options| options.temperature(tau)) })
}

/// Sets the largest extrapolation along the factors' last change, 0 (none) to below 1. Default: 0.95 (exact), 0
/// (paper). Only ARMOR_METHOD_EXACT extrapolates.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_set_max_extrapolation(options: *mut OptionsHandle, beta: f64) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { set(options, |options| options.max_extrapolation(beta)) })
}

/// Sets the learning rate of ARMOR_METHOD_PAPER's Adam, above 0 to 1. Default: 1e-4.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_set_learning_rate(options: *mut OptionsHandle, rate: f64) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { set(options, |options| options.learning_rate(rate)) })
}

/// Sets the seed of every random choice. Default: 0. The same seed gives the same bits for any number of threads.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_set_seed(options: *mut OptionsHandle, seed: u64) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { set(options, |options| options.seed(seed)) })
}

/// Sets the worker threads of a run, 0 to 1024. Default: 0, one pool for the whole process with a thread a core, or as
/// many as the environment variable RAYON_NUM_THREADS says; another number starts a pool for the run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_set_threads(options: *mut OptionsHandle, threads: usize) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { set(options, |options| options.threads(threads)) })
}
