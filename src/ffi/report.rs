//! How a factorisation was reached, and what it is worth.

use std::ffi::{CStr, c_char};

use super::factorization::FactorizationHandle;
use super::guard::guard;
use super::handle;
use super::pointer::{Growing, Out, write_growing};
use crate::result::factorization::Factorization;
use crate::result::record::StopReason;

/// All iterations were done.
pub const ARMOR_STOP_ITERATIONS: u32 = 1;
/// The loss stopped falling: no progress for the options' patience.
pub const ARMOR_STOP_CONVERGED: u32 = 2;
/// The time budget was used up.
pub const ARMOR_STOP_TIME_BUDGET: u32 = 3;
/// The progress function asked for it.
pub const ARMOR_STOP_CANCELLED: u32 = 4;

/// The record of a run.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// Set to sizeof(armor_report) before the call; afterwards the bytes that were written.
    pub struct_size: usize,
    /// Iterations done.
    pub iterations: usize,
    /// Bytes of the factors in f32, the mask's bits included.
    pub stored_bytes_f32: usize,
    /// The same with values and wrappers in f16.
    pub stored_bytes_f16: usize,
    /// Relative proxy loss; 1 would be a reconstruction of zeros.
    pub loss: f64,
    /// Relative proxy loss of pruning alone (NoWag-P); loss is never above it.
    pub nowag_p_loss: f64,
    /// Numbers in both wrappers over entries of the weight.
    pub overhead: f64,
    /// Wall time of the run; 0 for a factorisation that was read from bytes.
    pub seconds: f64,
    /// Why the run ended, ARMOR_STOP_*.
    pub stop_reason: u32,
    /// 0; room for a later field.
    pub reserved: u32,
    /// Ridge that was added to the unit diagonal of the inputs' correlation to factor it; 0 where none was needed.
    pub ridge: f64,
}

// SAFETY: repr(C), Copy, plain numbers without padding, struct_size first.
unsafe impl Growing for Report {
    const FIRST_SIZE: usize = 4 * size_of::<usize>() + 4 * size_of::<f64>() + 2 * size_of::<u32>();

    fn struct_size_mut(&mut self) -> &mut usize {
        &mut self.struct_size
    }
}

impl Report {
    fn of(factorization: &Factorization) -> Self {
        Report {
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
        }
    }
}

/// Writes the record of a run to out, whose struct_size the caller has set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_factorization_get_report(
    factorization: *const FactorizationHandle,
    out: *mut Report,
) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let (factorization, memory) = unsafe { handle::borrow("factorization", factorization)? };
        let out = Out::new("out", out)?.apart_from(&[memory])?;
        // SAFETY: the caller keeps the module's contract.
        unsafe { write_growing(out, Report::of(factorization)) }
    })
}

/// Gives a lower-case word for a reason to stop, ARMOR_STOP_*; "unknown" for a number that is none. Never NULL; the
/// text lives as long as the library. Any thread may call it.
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
