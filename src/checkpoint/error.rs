//! The errors of jobs that compress checkpoints.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::error::Error;
use crate::error::text::plain;

/// Why a job was refused or stopped.
///
/// Every variant names the file, the tensor or the setting that is at fault. In messages, control characters of names are
/// escaped: `\u{1b}`.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The settings of a job are malformed JSON, or one of them is refused.
    #[error("settings: {}: {}", plain(key), plain(problem))]
    Settings {
        /// The key whose value is refused, or `document` for an error of the whole text.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The operating system failed to read or write a file or folder.
    #[error("{}: {}", shown(path), plain(&source.to_string()))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A file or folder has content that the job cannot use.
    #[error("{}: {}", shown(path), plain(problem))]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A safetensors file lacks a tensor, or one of its tensors has a wrong type, shape or name.
    #[error("{}: {}: {}", plain(file), plain(tensor), plain(problem))]
    Tensor {
        /// The file's name.
        file: String,
        /// The tensor, or `header`.
        tensor: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The values of a tensor are refused.
    #[error("{}: {}: {source}", plain(file), plain(tensor))]
    InTensor {
        /// The file's name.
        file: String,
        /// The tensor.
        tensor: String,
        /// Why its values are refused.
        source: Error,
    },
    /// The output folder holds something else than this job.
    #[error("{}: {}", shown(path), plain(problem))]
    OtherJob {
        /// The output folder.
        path: PathBuf,
        /// What it holds.
        problem: String,
    },
    /// Several tensors or files are refused, each for its own reason.
    #[error("{}", listed(errors))]
    Several {
        /// The errors, in the order of the tensors.
        errors: Vec<CheckpointError>,
    },
    /// The call needs layers or a report that the job has not produced yet.
    #[error("job: {}", plain(problem))]
    Unfinished {
        /// What is missing.
        problem: String,
    },
    /// The observer cancelled a layer; nothing of the layer was kept.
    #[error("job: cancelled")]
    Cancelled,
    /// An error that concerns neither a file nor a setting of the job alone: an option out of range, for instance.
    #[error(transparent)]
    Core(#[from] Error),
}

impl CheckpointError {
    /// Makes one error of any number of them; `None` of none.
    pub(super) fn of_all(mut errors: Vec<CheckpointError>) -> Option<Self> {
        match errors.len() {
            0 | 1 => errors.pop(),
            _ => Some(CheckpointError::Several { errors }),
        }
    }
}

/// The number of errors, and each on a line of its own.
fn listed(errors: &[CheckpointError]) -> String {
    let lines: String = errors.iter().map(|error| format!("\n{error}")).collect();
    format!("{} inputs are refused:{lines}", errors.len())
}

fn shown(path: &Path) -> String {
    plain(&path.display().to_string())
}

/// Adds `path` to an error of the operating system.
pub(super) fn io_error(path: &Path) -> impl FnOnce(io::Error) -> CheckpointError + '_ {
    |source| CheckpointError::Io { path: path.to_owned(), source }
}

/// Makes the error of a file or folder that cannot be used.
pub(super) fn file_error(path: &Path, problem: impl Display) -> CheckpointError {
    CheckpointError::File { path: path.to_owned(), problem: problem.to_string() }
}

/// Makes the error of a tensor that cannot be used.
pub(super) fn tensor_error(file: &str, tensor: &str, problem: impl Display) -> CheckpointError {
    CheckpointError::Tensor { file: file.to_owned(), tensor: tensor.to_owned(), problem: problem.to_string() }
}

/// Makes the error of a setting.
pub(super) fn setting_error(key: &str, problem: impl Display) -> CheckpointError {
    CheckpointError::Settings { key: key.to_owned(), problem: problem.to_string() }
}
