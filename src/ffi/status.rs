//! What a call returns: status numbers, and why it failed.

use std::ffi::{CStr, c_char};

use super::guard::guard;
use crate::error::Error;

/// The call did what it was asked.
pub const ARMOR_OK: u32 = 0;
/// A pointer that must not be NULL is.
pub const ARMOR_NULL_POINTER: u32 = 1;
/// A pointer is not a multiple of its type's alignment.
pub const ARMOR_MISALIGNED: u32 = 2;
/// Memory that the call writes overlaps other memory that it uses.
pub const ARMOR_OVERLAP: u32 = 3;
/// Sizes or strides reach beyond the address space.
pub const ARMOR_SIZE_OVERFLOW: u32 = 4;
/// A dtype is none of ARMOR_DTYPE_*.
pub const ARMOR_UNKNOWN_DTYPE: u32 = 5;
/// Another number is none of its constants.
pub const ARMOR_UNKNOWN_VALUE: u32 = 6;
/// A matrix is empty, or sizes do not fit one another.
pub const ARMOR_INVALID_SHAPE: u32 = 7;
/// A weight or Hessian entry is NaN, infinite or beyond f32.
pub const ARMOR_NOT_FINITE: u32 = 8;
/// A Hessian's diagonal entry is negative, or an entry is larger than its diagonal allows.
pub const ARMOR_NEGATIVE: u32 = 9;
/// An option lies outside its range.
pub const ARMOR_OPTION_OUT_OF_RANGE: u32 = 10;
/// The caller's buffer is too small; the needed size was written.
pub const ARMOR_BUFFER_TOO_SMALL: u32 = 11;
/// Bytes do not hold a factorisation.
pub const ARMOR_INVALID_BYTES: u32 = 12;
/// A text is not UTF-8.
pub const ARMOR_INVALID_TEXT: u32 = 13;
/// A handle is not of the type that the call takes.
pub const ARMOR_WRONG_HANDLE: u32 = 14;
/// A struct's struct_size is below that of its first version.
pub const ARMOR_STRUCT_SIZE: u32 = 15;
/// The worker threads could not be started, or the process was forked from the one that has them.
pub const ARMOR_THREADS: u32 = 16;
/// A full Hessian is not symmetric.
pub const ARMOR_ASYMMETRIC: u32 = 17;
/// The full Hessian is needed, and only its diagonal was given.
pub const ARMOR_HESSIAN_NOT_FULL: u32 = 18;
/// The run needs more working memory than its options allow.
pub const ARMOR_MEMORY_LIMIT: u32 = 19;
/// A file or folder cannot be read or written.
pub const ARMOR_FILE: u32 = 32;
/// A file does not hold the tensors that it should.
pub const ARMOR_INVALID_CHECKPOINT: u32 = 33;
/// A job's settings are no JSON, or one of them is wrong.
pub const ARMOR_INVALID_SETTINGS: u32 = 34;
/// The output folder holds something else than this job.
pub const ARMOR_OTHER_JOB: u32 = 35;
/// A job is not as far as the call needs it to be.
pub const ARMOR_JOB_UNFINISHED: u32 = 36;
/// The progress function cancelled; nothing was kept.
pub const ARMOR_CANCELLED: u32 = 37;
/// A value is beyond the type that it was to be stored in, or the core is none that the format can hold.
pub const ARMOR_UNREPRESENTABLE: u32 = 38;
/// A job has no layer of this index.
pub const ARMOR_NO_SUCH_LAYER: u32 = 39;
/// The library has a bug, which was caught; the caller's handles and buffers remain valid.
pub const ARMOR_PANIC: u32 = 255;

/// Says in a few words what a status number means; "unknown status" for a number that is none. Never NULL; the text
/// lives as long as the library. Any thread may call it.
#[unsafe(no_mangle)]
pub extern "C" fn armor_status_message(status: u32) -> *const c_char {
    guard(|| Ok(message(status).as_ptr()))
}

fn message(status: u32) -> &'static CStr {
    match status {
        ARMOR_OK => c"success",
        ARMOR_NULL_POINTER => c"pointer is NULL",
        ARMOR_MISALIGNED => c"pointer is misaligned",
        ARMOR_OVERLAP => c"memory overlaps",
        ARMOR_SIZE_OVERFLOW => c"size beyond the address space",
        ARMOR_UNKNOWN_DTYPE => c"unknown dtype",
        ARMOR_UNKNOWN_VALUE => c"unknown constant",
        ARMOR_INVALID_SHAPE => c"shapes do not fit",
        ARMOR_NOT_FINITE => c"value is not finite",
        ARMOR_NEGATIVE => c"value is negative",
        ARMOR_OPTION_OUT_OF_RANGE => c"option out of range",
        ARMOR_BUFFER_TOO_SMALL => c"buffer too small",
        ARMOR_INVALID_BYTES => c"bytes do not hold a factorisation",
        ARMOR_INVALID_TEXT => c"text is not UTF-8",
        ARMOR_WRONG_HANDLE => c"handle of another type",
        ARMOR_STRUCT_SIZE => c"unknown struct size",
        ARMOR_THREADS => c"threads could not be started",
        ARMOR_ASYMMETRIC => c"matrix is not symmetric",
        ARMOR_HESSIAN_NOT_FULL => c"full Hessian needed",
        ARMOR_MEMORY_LIMIT => c"memory limit too low",
        ARMOR_FILE => c"file cannot be read or written",
        ARMOR_INVALID_CHECKPOINT => c"file lacks what it should hold",
        ARMOR_INVALID_SETTINGS => c"settings are wrong",
        ARMOR_OTHER_JOB => c"folder holds another job",
        ARMOR_JOB_UNFINISHED => c"job is not finished",
        ARMOR_CANCELLED => c"cancelled",
        ARMOR_UNREPRESENTABLE => c"cannot be stored like this",
        ARMOR_NO_SUCH_LAYER => c"no such layer",
        ARMOR_PANIC => c"internal error",
        _ => c"unknown status",
    }
}

/// Why a call failed: its status, and a message that names argument, fault and place.
#[derive(Debug)]
pub(super) struct Failure {
    pub status: u32,
    pub message: String,
}

impl Failure {
    pub fn new(status: u32, message: impl Into<String>) -> Self {
        Failure { status, message: message.into() }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match error.cause() {
            Error::EmptyWeight { .. }
            | Error::ColumnsNotMultiple { .. }
            | Error::HessianLength { .. }
            | Error::HessianNotSquare { .. }
            | Error::Inputs { .. }
            | Error::HessianKind { .. }
            | Error::NoTokens
            | Error::Length { .. } => ARMOR_INVALID_SHAPE,
            Error::WeightNotFinite { .. } | Error::HessianNotFinite { .. } | Error::Activation { .. } => {
                ARMOR_NOT_FINITE
            }
            Error::HessianNegative { .. } | Error::HessianIndefinite { .. } => ARMOR_NEGATIVE,
            Error::SizeOverflow { .. } => ARMOR_SIZE_OVERFLOW,
            Error::Pattern { .. } | Error::PatternText { .. } | Error::Option { .. } => ARMOR_OPTION_OUT_OF_RANGE,
            Error::Bytes { .. } => ARMOR_INVALID_BYTES,
            Error::Threads { .. } => ARMOR_THREADS,
            Error::HessianAsymmetric { .. } => ARMOR_ASYMMETRIC,
            Error::HessianNotFull { .. } => ARMOR_HESSIAN_NOT_FULL,
            Error::MemoryLimit { .. } => ARMOR_MEMORY_LIMIT,
            Error::Overflow { .. } | Error::Precision { .. } | Error::Format { .. } => ARMOR_UNREPRESENTABLE,
            Error::Json { .. } | Error::Settings { .. } | Error::UnknownName { .. } => ARMOR_INVALID_SETTINGS,
            Error::File { .. } => ARMOR_FILE,
            Error::Tensor { .. } => ARMOR_INVALID_CHECKPOINT,
            Error::OtherJob { .. } => ARMOR_OTHER_JOB,
            Error::Unfinished { .. } => ARMOR_JOB_UNFINISHED,
            Error::Cancelled => ARMOR_CANCELLED,
            // `cause` looks behind it.
            Error::InTensor { .. } => ARMOR_PANIC,
            // A caller's own parts raise these, and there are none behind the ABI.
            Error::NotPositive { .. }
            | Error::GroupMask { .. }
            | Error::Coupled { .. }
            | Error::Part { .. }
            | Error::FactorShape { .. } => ARMOR_PANIC,
        };
        Failure::new(status, error.to_string())
    }
}
