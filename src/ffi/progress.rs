//! Progress of a run: the caller's function, and what it receives.

use std::ffi::{c_int, c_void};
use std::ops::ControlFlow;

use crate::descent::progress::{Phase, Progress};

/// The run draws the masks at random, at a temperature above zero: the loss may rise.
pub const ARMOR_PHASE_ANNEALING: u32 = 1;
/// Every step takes the best mask that it finds.
pub const ARMOR_PHASE_DESCENDING: u32 = 2;

/// The state of a run after an iteration. Later versions add fields at the end only.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RunProgress {
    /// Number of the iteration that has just ended, from 1.
    pub iteration: usize,
    /// Largest number of iterations of the run.
    pub iterations: usize,
    /// Relative proxy loss after this iteration.
    pub loss: f64,
    /// Lowest relative proxy loss of the starting point and of all iterations so far.
    pub best_loss: f64,
    /// Seconds since the start of the run.
    pub seconds: f64,
    /// ARMOR_PHASE_*.
    pub phase: u32,
}

/// A function of the caller that the library calls after every iteration. Only one thread at a time calls it, but this
/// need not be the thread that called armor_factorize. A result other than 0 cancels the run. The function must return:
/// no exception and no longjmp may leave it. `progress` is valid until the function returns; `user` is the pointer that
/// the caller passed with the function.
pub type ProgressFn = Option<unsafe extern "C" fn(progress: *const RunProgress, user: *mut c_void) -> c_int>;

/// Stores a progress function with its user pointer.
pub(super) struct Callback {
    pub function: unsafe extern "C" fn(*const RunProgress, *mut c_void) -> c_int,
    pub user: *mut c_void,
}

// SAFETY: the ABI says that another thread may call the function, so the caller must pass a `user` that allows it.
unsafe impl Send for Callback {}

impl Callback {
    /// Calls the function, and returns whether the run continues.
    pub fn call(&self, progress: &Progress) -> ControlFlow<()> {
        let progress = RunProgress {
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
        // SAFETY: the caller guarantees that the function and its user pointer are valid during the run.
        let answer = unsafe { (self.function)(&raw const progress, self.user) };
        if answer == 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}
