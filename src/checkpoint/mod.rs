//! Whole checkpoints, feature `checkpoint`: from safetensors files and their Hessians to compressed ones, safe against a
//! kill at any moment, on one machine or several.
//!
//! ```no_run
//! use armor_core::checkpoint::{Job, Settings};
//!
//! let job = Job::open(Settings::new("model", "hessians.safetensors", "compressed"))?;
//! job.run(2, &|_| {})?;
//! job.finish(&|_, _| {})?;
//! # Ok::<(), armor_core::Error>(())
//! ```
//!
//! `docs/checkpoints.md` tells the whole way from a model to a compressed one.

#[cfg(target_endian = "big")]
compile_error!("checkpoints are read in place, as little-endian numbers");

mod check;
mod digest;
mod fingerprint;
mod inputs;
mod job;
mod names;
mod output;
mod part;
mod parts;
mod report;
mod selection;
mod settings;
mod shard;
mod source;
mod stored_loss;
mod summary;

use std::fmt::Display;
use std::path::Path;

pub use job::{Event, Job};
pub use selection::Selected;
pub use settings::{Block, ObjectiveName, Preset, RowWeightingName, Settings};

use crate::error::Error;

fn in_file(path: &Path, problem: impl Display) -> Error {
    Error::File { path: path.display().to_string(), problem: problem.to_string() }
}

fn in_tensor(file: &str, tensor: &str, problem: impl Display) -> Error {
    Error::Tensor { file: file.to_owned(), tensor: tensor.to_owned(), problem: problem.to_string() }
}
