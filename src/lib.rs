#![doc = include_str!("../README.md")]
#![deny(missing_docs, unsafe_code, unsafe_op_in_unsafe_fn)]
#![warn(clippy::undocumented_unsafe_blocks)]
#![allow(clippy::neg_cmp_op_on_partial_ord, reason = "`!(x > 0.0)` is how a NaN is refused")]

mod accumulator;
mod block_diagonal;
#[cfg(feature = "checkpoint")]
pub mod checkpoint;
mod coupling;
mod descent;
mod elementwise;
mod error;
mod factorization;
mod factors;
#[cfg(feature = "capi")]
#[allow(unsafe_code, reason = "raw pointers come in here, and nowhere else")]
pub mod ffi;
#[cfg(feature = "safetensors")]
mod formats;
#[cfg(feature = "safetensors")]
mod header;
mod hessian;
#[cfg(feature = "safetensors")]
mod keys;
mod layer;
mod linalg;
mod mask;
mod measure;
mod normalize;
mod options;
mod packed;
mod pattern;
mod pool;
mod precision;
mod proxy_loss;
mod scratch;
#[cfg(feature = "safetensors")]
mod serialize;
mod sparse_core;
mod state;
mod wrapper;

pub use accumulator::HessianAccumulator;
pub use block_diagonal::BlockDiagonal;
pub use descent::{Descent, Phase, Progress, StopReason, factorize};
pub use error::Error;
pub use factorization::Factorization;
#[cfg(feature = "safetensors")]
pub use formats::Format;
pub use hessian::Hessian;
pub use layer::{Element, Layer, Weight};
pub use mask::{
    AnnealedSweep, ExactSweep, InstructionSet, Magnitude, MaskSelector, NoWagP, SampledGroup, SparseGpt, SweepTimes,
    Wanda,
};
pub use normalize::{Normalization, Target};
pub use options::{Method, Objective, Options};
pub use packed::{PackedBytes, PackedFactorization};
pub use pattern::Pattern;
pub use precision::Precision;
pub use proxy_loss::{FullOutputError, NoWagLoss, OutputError, ProxyLoss, RowWeighting};
pub use sparse_core::SparseCore;
pub use state::{State, Step};
pub use wrapper::{JointAdam, LeastSquares, SequentialGradient, WrapperUpdate};
