//! The error type of the exports.

use super::status::{
    ARMOR_ASYMMETRIC, ARMOR_HESSIAN_NOT_FULL, ARMOR_INVALID_BYTES, ARMOR_INVALID_SETTINGS, ARMOR_INVALID_SHAPE,
    ARMOR_MEMORY_LIMIT, ARMOR_NEGATIVE, ARMOR_NOT_FINITE, ARMOR_OPTION_OUT_OF_RANGE, ARMOR_PANIC, ARMOR_SIZE_OVERFLOW,
    ARMOR_THREADS, ARMOR_UNREPRESENTABLE,
};
#[cfg(feature = "checkpoint")]
use super::status::{ARMOR_CANCELLED, ARMOR_FILE, ARMOR_INVALID_CHECKPOINT, ARMOR_JOB_UNFINISHED, ARMOR_OTHER_JOB};
#[cfg(feature = "checkpoint")]
use crate::checkpoint::CheckpointError;
use crate::error::Error;

/// Describes why a call failed: a status, and a message that names the argument, the fault and the position.
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
        Failure::new(status_of(&error), error.to_string())
    }
}

#[cfg(feature = "checkpoint")]
impl From<CheckpointError> for Failure {
    fn from(error: CheckpointError) -> Self {
        Failure::new(status_of_job(&error), error.to_string())
    }
}

/// Returns the status of an error of a job: of several errors that of the first.
#[cfg(feature = "checkpoint")]
fn status_of_job(error: &CheckpointError) -> u32 {
    match error {
        CheckpointError::Settings { .. } => ARMOR_INVALID_SETTINGS,
        CheckpointError::Io { .. } | CheckpointError::File { .. } => ARMOR_FILE,
        CheckpointError::Tensor { .. } => ARMOR_INVALID_CHECKPOINT,
        CheckpointError::InTensor { source, .. } => status_of(source),
        CheckpointError::Several { errors } => errors.first().map_or(ARMOR_INVALID_CHECKPOINT, status_of_job),
        CheckpointError::OtherJob { .. } => ARMOR_OTHER_JOB,
        CheckpointError::Unfinished { .. } => ARMOR_JOB_UNFINISHED,
        CheckpointError::Cancelled => ARMOR_CANCELLED,
        CheckpointError::Core(error) => status_of(error),
    }
}

/// Returns the status of an error of the crate.
fn status_of(error: &Error) -> u32 {
    match error {
        Error::EmptyWeight { .. }
        | Error::ColumnsNotMultiple { .. }
        | Error::HessianLength { .. }
        | Error::HessianNotSquare { .. }
        | Error::Inputs { .. }
        | Error::Tokens { .. }
        | Error::HessianKind { .. }
        | Error::NoTokens
        | Error::Length { .. } => ARMOR_INVALID_SHAPE,
        Error::WeightNotFinite { .. }
        | Error::HessianNotFinite { .. }
        | Error::NotFinite { .. }
        | Error::Activation { .. } => ARMOR_NOT_FINITE,
        Error::HessianNegative { .. } | Error::HessianIndefinite { .. } | Error::HessianNotSemidefinite { .. } => {
            ARMOR_NEGATIVE
        }
        Error::SizeOverflow { .. } => ARMOR_SIZE_OVERFLOW,
        Error::Pattern { .. } | Error::PatternText { .. } | Error::Option { .. } => ARMOR_OPTION_OUT_OF_RANGE,
        Error::Bytes { .. } => ARMOR_INVALID_BYTES,
        Error::Threads { .. } => ARMOR_THREADS,
        Error::HessianAsymmetric { .. } => ARMOR_ASYMMETRIC,
        Error::HessianNotFull { .. } => ARMOR_HESSIAN_NOT_FULL,
        Error::MemoryLimit { .. } => ARMOR_MEMORY_LIMIT,
        Error::Overflow { .. } | Error::Format { .. } => ARMOR_UNREPRESENTABLE,
        Error::Json { .. } | Error::UnknownName { .. } => ARMOR_INVALID_SETTINGS,
        // Only parts that a Rust caller implements return these errors, and the ABI accepts no such parts.
        Error::NotPositive { .. }
        | Error::Negative { .. }
        | Error::AllZero { .. }
        | Error::GroupMask { .. }
        | Error::Coupled { .. }
        | Error::Part { .. }
        | Error::FactorShape { .. }
        | Error::StartingLoss { .. }
        | Error::LossScale { .. } => ARMOR_PANIC,
    }
}
