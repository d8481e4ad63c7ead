//! The handle of options: a preset, and the changes to it.

use std::ffi::c_char;
use std::sync::{Mutex, PoisonError};

use super::buffer::Buffer;
use super::failure::Failure;
use super::guard::guard;
use super::opaque::{self, Opaque};
use super::pointer::{Out, Span, utf8};
use super::status::{ARMOR_OPTION_OUT_OF_RANGE, ARMOR_UNKNOWN_VALUE};
use crate::descent::options::{Method, Objective, Options, positive_duration};
use crate::factors::pattern::Pattern;
use crate::problem::proxy_loss::output_error::RowWeighting;

/// Exact updates with annealing and extrapolation. This is the default.
pub const ARMOR_PRESET_EXACT: u32 = 1;
/// The procedure of the ARMOR paper (arXiv 2510.05528).
pub const ARMOR_PRESET_PAPER: u32 = 2;

/// An iteration solves the least-squares problem of each wrapper exactly, then finds the best mask and values of every
/// group of the core.
pub const ARMOR_METHOD_EXACT: u32 = 1;
/// An iteration makes one Adam step on all factors, then updates one randomly chosen group in every block, as in the
/// ARMOR paper.
pub const ARMOR_METHOD_PAPER: u32 = 2;
/// An iteration makes one gradient step on A, on B and on the values of the core, then updates one randomly chosen group
/// in every block, as in the convergence proof of the ARMOR paper.
pub const ARMOR_METHOD_GRADIENT: u32 = 3;

/// The squared errors of the entries, each weighted by its input's entry on the Hessian's diagonal, as in the ARMOR paper.
pub const ARMOR_OBJECTIVE_DIAGONAL: u32 = 1;
/// The output error under the full Hessian. It needs ARMOR_HESSIAN_FULL and ARMOR_METHOD_EXACT.
pub const ARMOR_OBJECTIVE_FULL: u32 = 2;

/// Every row has the weight that NoWag gives it: an error counts relative to the size of its row.
pub const ARMOR_ROWS_NOWAG: u32 = 1;
/// All rows have the same weight.
pub const ARMOR_ROWS_UNIFORM: u32 = 2;

/// The options of a factorisation. armor_options_create creates them, armor_options_free frees them. Any thread may use
/// them at any time. A run uses the values at the time of its start, and later changes do not affect it.
#[derive(Debug)]
pub struct OptionsHandle {
    _opaque: (),
}

impl Opaque for OptionsHandle {
    type Inner = Mutex<Options>;
    const TAG: u64 = u64::from_le_bytes(*b"armorOPT");
    const NAME: &'static str = "options";
}

/// Copies the current options, and returns the memory of their handle.
///
/// # Safety
/// The contract of [`super`].
pub(super) unsafe fn snapshot(options: *const OptionsHandle) -> Result<(Options, Span), Failure> {
    // SAFETY: the caller keeps the contract.
    let (options, memory) = unsafe { opaque::borrow("options", options)? };
    Ok((options.lock().unwrap_or_else(PoisonError::into_inner).clone(), memory))
}

/// Changes one option. A value outside its range changes nothing.
///
/// # Safety
/// The contract of [`super`].
unsafe fn set(options: *mut OptionsHandle, change: impl Fn(&mut Options)) -> Result<(), Failure> {
    // SAFETY: the caller keeps the contract.
    let (options, _) = unsafe { opaque::borrow("options", options)? };
    let mut options = options.lock().unwrap_or_else(PoisonError::into_inner);
    // The new value is tried on a preset, where all other options are in range: the start of a run checks whether the
    // options match each other. Only the right block must be a multiple of the pattern's M at once.
    let mut trial = Options::exact().right_block(options.pattern.m()).pattern(options.pattern);
    change(&mut trial);
    trial.validate()?;
    change(&mut options);
    Ok(())
}

/// Creates the options of a preset, ARMOR_PRESET_*, and writes their handle to out. Free it with armor_options_free.
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
        unsafe { out.write(opaque::create(Mutex::new(options))) };
        Ok(())
    })
}

/// Creates options from a JSON object, and writes their handle to out. Free it with armor_options_free. json points to len
/// bytes in UTF-8, without a NUL byte at the end.
///
/// The object has one key for each armor_options_set_*, without that prefix: "method" is "exact", "paper" or "gradient",
/// "objective" is "diagonal" or "full", "row_weighting" is "nowag", "uniform" or null (the default of the objective),
/// "pattern" is a text such as "2:4", "time_budget" is a number of seconds or null (no limit), "memory_limit" is a number
/// of bytes from 1 or null (no limit), and the others are numbers. Every key is optional. "preset" is "exact" (the default) or
/// "paper", and gives the values of the missing keys. "block" is a number p, or two numbers [p, q], and gives left_block and
/// right_block.
///
/// The call fails with ARMOR_INVALID_TEXT; with ARMOR_INVALID_SETTINGS if the text is not a JSON object, if it has an
/// unknown key or the same key twice, or if a value has the wrong type (the message contains the key); and with
/// ARMOR_OPTION_OUT_OF_RANGE. The start of a run checks whether the options match each other.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_from_json(json: *const u8, len: usize, out: *mut *mut OptionsHandle) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let text = unsafe { utf8("json", json, len)? };
        let out = Out::new("out", out)?.apart_from(&[Span::new("json", json, len)?])?;
        let options = Options::from_json(text.as_bytes())?;
        options.check_ranges()?;
        // SAFETY: the caller keeps the module's contract.
        unsafe { out.write(opaque::create(Mutex::new(options))) };
        Ok(())
    })
}

/// Writes all options as a JSON object, which armor_options_from_json reads, to buffer, which has space for capacity bytes.
/// The text ends with a NUL byte.
///
/// needed may be NULL; otherwise the number of bytes, including the NUL byte, is written there, also on
/// ARMOR_BUFFER_TOO_SMALL, when nothing else is written. To ask for the number only, pass NULL and 0 for buffer and
/// capacity.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_to_json(
    options: *const OptionsHandle,
    buffer: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let (options, memory) = unsafe { snapshot(options)? };
        let buffer = Buffer::new("buffer", buffer, capacity, needed, &[memory])?;
        // SAFETY: the caller keeps the module's contract.
        unsafe { buffer.fill_text(&options.to_json()) }
    })
}

/// Frees options; NULL is allowed. No other call may use the options at this time, also no run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_free(options: *mut OptionsHandle) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { opaque::free("options", options) })
}

/// Sets the updates of an iteration, ARMOR_METHOD_*. Default: ARMOR_METHOD_EXACT (preset exact), ARMOR_METHOD_PAPER (preset
/// paper).
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
        unsafe { set(options, |options| options.method = method) }
    })
}

/// Sets the number of rows of a block of the left wrapper (p), from 1 to 4096. Default: 64 (preset exact), 128 (preset
/// paper). Larger blocks give a lower loss and larger wrappers. A block that is larger than the layer is the whole layer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_set_left_block(options: *mut OptionsHandle, rows: usize) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { set(options, |options| options.left_block = rows) })
}

/// Sets the number of columns of a block of the right wrapper (q), from 1 to 4096 and a multiple of the pattern's M. Set
/// the pattern before the block. Default: 64 (preset exact), 128 (preset paper).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_set_right_block(options: *mut OptionsHandle, cols: usize) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { set(options, |options| options.right_block = cols) })
}

/// Sets the sparsity pattern n:m of the core, with 0 < n < m <= 8: the core keeps n of every m neighbouring entries of a
/// row. Default: 2:4. At the start of a run the number of columns of the layer and the right block must be multiples of m.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_set_pattern(options: *mut OptionsHandle, n: usize, m: usize) -> u32 {
    guard(|| {
        let pattern = Pattern::new(n, m)?;
        // SAFETY: the caller keeps the module's contract.
        let (options, _) = unsafe { opaque::borrow("options", options)? };
        let mut options = options.lock().unwrap_or_else(PoisonError::into_inner);
        options.pattern = pattern;
        Ok(())
    })
}

/// Sets the largest number of iterations, from 1 to 10,000,000, and with it the length of the annealing. Default: 120
/// (preset exact), 20,000 (preset paper).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_set_iterations(options: *mut OptionsHandle, iterations: usize) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { set(options, |options| options.iterations = iterations) })
}

/// Sets the time limit of a run in seconds, above 0. Default: infinity, which means no limit. Two runs that a time limit
/// has shortened may give different results.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_set_time_budget(options: *mut OptionsHandle, seconds: f64) -> u32 {
    guard(|| {
        let budget = match seconds {
            f64::INFINITY => None,
            seconds if seconds > 0.0 => Some(positive_duration(seconds)),
            seconds => {
                let message = format!("option time_budget: {seconds} s is out of range, expected a time above zero");
                return Err(Failure::new(ARMOR_OPTION_OUT_OF_RANGE, message));
            }
        };
        // SAFETY: the caller keeps the module's contract.
        unsafe { set(options, |options| options.time_budget = budget) }
    })
}

/// Sets the smallest relative fall of the loss that counts as progress, at least 0 and below 1. Default: 1e-6.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_set_tolerance(options: *mut OptionsHandle, tolerance: f64) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { set(options, |options| options.tolerance = tolerance) })
}

/// Sets the number of iterations without progress after which a run stops as converged, at least 1. Iterations of the
/// annealing do not count. Default: 100.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_set_patience(options: *mut OptionsHandle, iterations: usize) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { set(options, |options| options.patience = iterations) })
}

/// Sets the temperature at the start of the annealing, from 0 (no annealing) to 100, in units of the mean loss of one group.
/// Default: 1.5 (preset exact), 0 (preset paper). Only ARMOR_METHOD_EXACT uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_set_temperature(options: *mut OptionsHandle, tau: f64) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { set(options, |options| options.temperature = tau) })
}

/// Sets the largest factor of the extrapolation: before an iteration the factors continue their last change by up to this
/// factor. At least 0 (no extrapolation) and below 1. Default: 0.95 (preset exact), 0 (preset paper). Only
/// ARMOR_METHOD_EXACT uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_set_max_extrapolation(options: *mut OptionsHandle, beta: f64) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { set(options, |options| options.max_extrapolation = beta) })
}

/// Sets the learning rate of the Adam steps of ARMOR_METHOD_PAPER, above 0 and at most 1. Default: 1e-4.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_set_learning_rate(options: *mut OptionsHandle, rate: f64) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { set(options, |options| options.learning_rate = rate) })
}

/// Sets the seed of all random choices. Default: 0. The same seed gives exactly the same result, for any number of threads.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_set_seed(options: *mut OptionsHandle, seed: u64) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { set(options, |options| options.seed = seed) })
}

/// Sets the number of worker threads of a run, from 0 to 1024. Default: 0, which means the thread pool that all calls of the
/// process share. That pool has one thread per core, or as many as the environment variable RAYON_NUM_THREADS says. Any
/// other number starts a separate pool for the run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_set_threads(options: *mut OptionsHandle, threads: usize) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { set(options, |options| options.threads = threads) })
}

/// Sets the error that a run minimises, ARMOR_OBJECTIVE_*. Default: ARMOR_OBJECTIVE_DIAGONAL. An iteration with
/// ARMOR_OBJECTIVE_FULL takes a time in O(m k^2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_set_objective(options: *mut OptionsHandle, objective: u32) -> u32 {
    guard(|| {
        let objective = match objective {
            ARMOR_OBJECTIVE_DIAGONAL => Objective::Diagonal,
            ARMOR_OBJECTIVE_FULL => Objective::Full,
            other => {
                let message = format!("objective: {other} is not an objective, expected 1 or 2");
                return Err(Failure::new(ARMOR_UNKNOWN_VALUE, message));
            }
        };
        // SAFETY: the caller keeps the module's contract.
        unsafe { set(options, |options| options.objective = objective) }
    })
}

/// Sets the shrinkage of the full Hessian towards its diagonal, from 0 (the Hessian itself) to 1 (only its diagonal).
/// Default: 0.5.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_set_shrinkage(options: *mut OptionsHandle, alpha: f64) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { set(options, |options| options.shrinkage = alpha) })
}

/// Sets the weights of the rows' errors, ARMOR_ROWS_*. Default: ARMOR_ROWS_NOWAG with ARMOR_OBJECTIVE_DIAGONAL, which is the
/// proxy loss of the ARMOR paper; ARMOR_ROWS_UNIFORM with ARMOR_OBJECTIVE_FULL, which is the output error of the layer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_set_row_weighting(options: *mut OptionsHandle, weighting: u32) -> u32 {
    guard(|| {
        let weighting = match weighting {
            ARMOR_ROWS_NOWAG => RowWeighting::NoWag,
            ARMOR_ROWS_UNIFORM => RowWeighting::Uniform,
            other => {
                let message = format!("row_weighting: {other} is not a weighting of rows, expected 1 or 2");
                return Err(Failure::new(ARMOR_UNKNOWN_VALUE, message));
            }
        };
        // SAFETY: the caller keeps the module's contract.
        unsafe { set(options, |options| options.row_weighting = Some(weighting)) }
    })
}

/// Sets the limit in bytes for the working memory that ARMOR_OBJECTIVE_FULL uses in addition to the memory of
/// ARMOR_OBJECTIVE_DIAGONAL. Default: 0, which means no limit. A run that needs more fails with ARMOR_MEMORY_LIMIT, and the
/// message contains the needed number of bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_options_set_memory_limit(options: *mut OptionsHandle, bytes: usize) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { set(options, |options| options.memory_limit = (bytes > 0).then_some(bytes)) })
}
