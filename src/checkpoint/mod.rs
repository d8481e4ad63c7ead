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
//! A program that runs the model block by block, and knows the inputs of a layer only once the layers before it are
//! compressed, opens a job without Hessians and passes each layer's calibration with the call that runs the layer:
//!
//! ```no_run
//! use armor_core::checkpoint::{Calibration, CheckpointError, Job, JobSettings};
//! use armor_core::{HessianAccumulator, HessianKind};
//! use std::ops::ControlFlow;
//!
//! # fn inputs_of(_: &str) -> HessianAccumulator { HessianAccumulator::new(64, HessianKind::Diagonal) }
//! let job = Job::open(JobSettings::calibrated_by_caller("model", ["model.layers.*_proj.weight"], "compressed"))?;
//! for (index, layer) in job.layers().iter().enumerate() {
//!     let inputs: HessianAccumulator = inputs_of(&layer.name);
//!     let calibration = Calibration::Hessian { hessian: &inputs.hessian()?, tokens: inputs.tokens() };
//!     job.run_layer_on(index, calibration, |_| ControlFlow::Continue(()))?;
//!     let weight = job.layer_weight(index)?; // what the model computes with from here on
//! }
//! job.finish(&|_, _| {})?;
//! # Ok::<(), CheckpointError>(())
//! ```
//!
//! `docs/checkpoints.md` describes the whole way from a model to a compressed one.

#[cfg(target_endian = "big")]
compile_error!("checkpoints are read in place, as little-endian numbers");

mod calibration;
mod check;
mod context;
mod digest;
mod error;
mod fingerprint;
mod folder;
mod fp8;
mod globs;
mod hessian_names;
mod input_digests;
mod inputs;
mod job;
mod layer_override;
mod layer_part;
mod layer_run;
mod layer_weight;
mod left_alone;
mod model_config;
mod model_files;
mod orientation;
mod output;
mod output_config;
mod output_files;
mod output_names;
mod output_shard;
mod overrides;
mod plan;
mod rehearsal;
mod replacement;
mod report;
mod resume;
mod scales;
mod selected_tensor;
mod selection;
mod settings;
mod shard;
mod shard_index;
mod side_files;
mod source;
mod stored_layer;
mod summary;
mod tensor_names;

pub use calibration::Calibration;
pub use error::CheckpointError;
pub use hessian_names::UnmatchedHessian;
pub use job::{Event, Job};
pub use layer_override::Override;
pub use model_files::SkippedFile;
pub use selected_tensor::SelectedTensor;
pub use selection::CopiedTensor;
pub use settings::JobSettings;
