//! Whole checkpoints, feature `checkpoint`: from safetensors files and their Hessians to compressed ones, safe against a
//! kill at any moment, on one machine or several.
//!
//! ```no_run
//! use armor_core::checkpoint::{CheckpointError, Job, JobSettings};
//!
//! let job = Job::open(JobSettings::new("model", "hessians.safetensors", "compressed"))?;
//! job.run(2, &|_| {})?;
//! job.finish(&|_, _| {})?;
//! # Ok::<(), CheckpointError>(())
//! ```
//!
//! `docs/checkpoints.md` describes the whole way from a model to a compressed one.

#[cfg(target_endian = "big")]
compile_error!("checkpoints are read in place, as little-endian numbers");

mod check;
mod context;
mod digest;
mod error;
mod fingerprint;
mod folder;
mod input_digests;
mod job;
mod layer_part;
mod output;
mod output_names;
mod output_shard;
mod report;
mod resume;
mod selection;
mod settings;
mod shard;
mod source;
mod stored_layer;
mod summary;

pub use error::CheckpointError;
pub use job::{Event, Job};
pub use selection::SelectedTensor;
pub use settings::JobSettings;
