//! The report of the run that made a factorisation.

use std::ffi::{CStr, c_char};

use super::handle::FactorizationHandle;
use crate::ffi::guard::guard;
use crate::ffi::opaque;
use crate::ffi::pointer::{Growing, Out, write_growing};
use crate::result::factorization::Factorization;
use crate::result::record::StopReason;

/// The run has done all its iterations.
pub const ARMOR_STOP_ITERATIONS: u32 = 1;
/// The loss has stopped falling: no progress in as many iterations as the option patience says.
pub const ARMOR_STOP_CONVERGED: u32 = 2;
/// The time budget is used up.
pub const ARMOR_STOP_TIME_BUDGET: u32 = 3;
/// The progress function has cancelled the run.
pub const ARMOR_STOP_CANCELLED: u32 = 4;

/// The report of a run.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RunReport {
    /// Set this to sizeof(armor_report) before the call. The call changes it to the number of bytes that it has written.
    pub struct_size: usize,
    /// Number of iterations that were done.
    pub iterations: usize,
    /// Size of the stored factors in bytes, with 32-bit values, including the bitmask.
    pub stored_bytes_f32: usize,
    /// Size of the stored factors in bytes, with 16-bit values, including the bitmask.
    pub stored_bytes_f16: usize,
    /// Relative proxy loss: the error that the run minimises, divided by the error of a reconstruction that is zero
    /// everywhere. It is 0 for an exact reconstruction.
    pub loss: f64,
    /// Relative proxy loss of pruning without wrappers (the method NoWag-P). loss is never above it.
    pub nowag_p_loss: f64,
    /// Number of values in both wrappers divided by the number of entries of the weight.
    pub overhead: f64,
    /// Duration of the run in seconds; 0 for a factorisation that was read from bytes.
    pub seconds: f64,
    /// Why the run has ended, ARMOR_STOP_*.
    pub stop_reason: u32,
    /// Always 0; reserved for a later field.
    pub reserved: u32,
    /// Number that was added to the unit diagonal of the inputs' correlation matrix so that it could be factorised; 0 if
    /// this was not necessary.
    pub ridge: f64,
    /// Number of inputs whose entry on the Hessian's diagonal is 0: they were zero on every calibration token, and errors
    /// in their weights did not count. If it is the number of all inputs (k), the Hessian was all zero, and the run used
    /// the identity instead.
    pub dead_inputs: u64,
}

// SAFETY: the struct is repr(C) and Copy, contains numbers only, has no padding, and starts with struct_size.
unsafe impl Growing for RunReport {
    const FIRST_SIZE: usize = 4 * size_of::<usize>() + 4 * size_of::<f64>() + 2 * size_of::<u32>();

    fn struct_size_mut(&mut self) -> &mut usize {
        &mut self.struct_size
    }
}

impl RunReport {
    /// Reads the report of a factorisation.
    fn of(factorization: &Factorization) -> Self {
        RunReport {
            struct_size: size_of::<Self>(),
            iterations: factorization.iterations(),
            stored_bytes_f32: factorization.stored_bytes(4),
            stored_bytes_f16: factorization.stored_bytes(2),
            loss: factorization.loss(),
            nowag_p_loss: factorization.nowag_p_loss(),
            overhead: factorization.overhead(),
            seconds: factorization.elapsed().as_secs_f64(),
            stop_reason: match factorization.stop_reason() {
                StopReason::Iterations => ARMOR_STOP_ITERATIONS,
                StopReason::Converged => ARMOR_STOP_CONVERGED,
                StopReason::TimeBudget => ARMOR_STOP_TIME_BUDGET,
                StopReason::Cancelled => ARMOR_STOP_CANCELLED,
            },
            reserved: 0,
            ridge: factorization.ridge(),
            dead_inputs: factorization.dead_inputs() as u64,
        }
    }
}

/// Writes the report of the run to out. Set out->struct_size before the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_factorization_get_report(
    factorization: *const FactorizationHandle,
    out: *mut RunReport,
) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let (factorization, memory) = unsafe { opaque::borrow("factorization", factorization)? };
        let out = Out::new("out", out)?.apart_from(&[memory])?;
        // SAFETY: the caller keeps the module's contract.
        unsafe { write_growing(out, RunReport::of(factorization)) }
    })
}

/// Returns the name of an ARMOR_STOP_* in lower case; "unknown" for another number. The result is never NULL, and stays
/// valid as long as the library is loaded. Any thread may call this function.
#[unsafe(no_mangle)]
pub extern "C" fn armor_stop_reason_name(stop_reason: u32) -> *const c_char {
    guard(|| Ok(name(stop_reason).as_ptr()))
}

fn name(stop_reason: u32) -> &'static CStr {
    match stop_reason {
        ARMOR_STOP_ITERATIONS => c"iterations",
        ARMOR_STOP_CONVERGED => c"converged",
        ARMOR_STOP_TIME_BUDGET => c"time_budget",
        ARMOR_STOP_CANCELLED => c"cancelled",
        _ => c"unknown",
    }
}
