//! Status numbers, and the text of each.

use std::ffi::CStr;

/// The call succeeded.
pub const ARMOR_OK: u32 = 0;
/// A required pointer is NULL.
pub const ARMOR_NULL_POINTER: u32 = 1;
/// A pointer is not a multiple of the alignment of its type.
pub const ARMOR_MISALIGNED: u32 = 2;
/// Memory that the call writes overlaps other memory that the call uses.
pub const ARMOR_OVERLAP: u32 = 3;
/// A size or a stride reaches beyond the address space.
pub const ARMOR_SIZE_OVERFLOW: u32 = 4;
/// A dtype is not one of ARMOR_DTYPE_*, or the call does not support it.
pub const ARMOR_UNKNOWN_DTYPE: u32 = 5;
/// Another constant is not one of those that the argument accepts.
pub const ARMOR_UNKNOWN_VALUE: u32 = 6;
/// A matrix is empty, or two sizes do not match.
pub const ARMOR_INVALID_SHAPE: u32 = 7;
/// An entry is NaN, infinite or outside the range of a 32-bit float.
pub const ARMOR_NOT_FINITE: u32 = 8;
/// A diagonal entry of a Hessian is negative, or another entry is larger than the diagonal allows.
pub const ARMOR_NEGATIVE: u32 = 9;
/// An option is outside its range.
pub const ARMOR_OPTION_OUT_OF_RANGE: u32 = 10;
/// The caller's buffer is too small. The needed size was written to `needed`, if that is an argument.
pub const ARMOR_BUFFER_TOO_SMALL: u32 = 11;
/// The bytes do not contain a valid factorisation or accumulator.
pub const ARMOR_INVALID_BYTES: u32 = 12;
/// A text is not valid UTF-8.
pub const ARMOR_INVALID_TEXT: u32 = 13;
/// A handle has another type than the call expects.
pub const ARMOR_WRONG_HANDLE: u32 = 14;
/// The struct_size of a struct is smaller than the first version of that struct.
pub const ARMOR_STRUCT_SIZE: u32 = 15;
/// The worker threads could not be started, or they belong to the parent of a forked process.
pub const ARMOR_THREADS: u32 = 16;
/// A full Hessian is not symmetric.
pub const ARMOR_ASYMMETRIC: u32 = 17;
/// The call needs the full Hessian, but only its diagonal was given.
pub const ARMOR_HESSIAN_NOT_FULL: u32 = 18;
/// The run needs more working memory than its options allow.
pub const ARMOR_MEMORY_LIMIT: u32 = 19;
/// A file or a folder cannot be read or written.
pub const ARMOR_FILE: u32 = 32;
/// A file does not contain the expected tensors.
pub const ARMOR_INVALID_CHECKPOINT: u32 = 33;
/// Settings or options are not valid JSON, or one of them is wrong.
pub const ARMOR_INVALID_SETTINGS: u32 = 34;
/// The output folder contains files that do not belong to this job.
pub const ARMOR_OTHER_JOB: u32 = 35;
/// The job has not reached the state that the call needs.
pub const ARMOR_JOB_UNFINISHED: u32 = 36;
/// The progress function cancelled the call, and nothing was stored.
pub const ARMOR_CANCELLED: u32 = 37;
/// A value is outside the range of the type in which it would be stored, or the format cannot store this core.
pub const ARMOR_UNREPRESENTABLE: u32 = 38;
/// The job has no layer with this index.
pub const ARMOR_NO_SUCH_LAYER: u32 = 39;
/// An internal error of the library. The caller's handles and buffers stay valid.
pub const ARMOR_PANIC: u32 = 255;

/// Returns a few words for a status number; "unknown status" for a number that is not one.
pub(super) fn message(status: u32) -> &'static CStr {
    match status {
        ARMOR_OK => c"success",
        ARMOR_NULL_POINTER => c"pointer is NULL",
        ARMOR_MISALIGNED => c"pointer is misaligned",
        ARMOR_OVERLAP => c"memory overlaps",
        ARMOR_SIZE_OVERFLOW => c"size exceeds the address space",
        ARMOR_UNKNOWN_DTYPE => c"unknown dtype",
        ARMOR_UNKNOWN_VALUE => c"unknown constant",
        ARMOR_INVALID_SHAPE => c"shapes do not match",
        ARMOR_NOT_FINITE => c"value is not finite",
        ARMOR_NEGATIVE => c"value is negative",
        ARMOR_OPTION_OUT_OF_RANGE => c"option out of range",
        ARMOR_BUFFER_TOO_SMALL => c"buffer too small",
        ARMOR_INVALID_BYTES => c"invalid bytes",
        ARMOR_INVALID_TEXT => c"text is not UTF-8",
        ARMOR_WRONG_HANDLE => c"handle of another type",
        ARMOR_STRUCT_SIZE => c"unknown struct size",
        ARMOR_THREADS => c"threads could not be started",
        ARMOR_ASYMMETRIC => c"matrix is not symmetric",
        ARMOR_HESSIAN_NOT_FULL => c"full Hessian needed",
        ARMOR_MEMORY_LIMIT => c"memory limit too low",
        ARMOR_FILE => c"file cannot be read or written",
        ARMOR_INVALID_CHECKPOINT => c"file lacks expected tensors",
        ARMOR_INVALID_SETTINGS => c"invalid settings",
        ARMOR_OTHER_JOB => c"folder belongs to another job",
        ARMOR_JOB_UNFINISHED => c"job is not finished",
        ARMOR_CANCELLED => c"cancelled",
        ARMOR_UNREPRESENTABLE => c"value cannot be stored in this format",
        ARMOR_NO_SUCH_LAYER => c"no such layer",
        ARMOR_PANIC => c"internal error",
        _ => c"unknown status",
    }
}
