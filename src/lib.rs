#![doc = include_str!("../README.md")]
#![deny(missing_docs, unsafe_code, unsafe_op_in_unsafe_fn)]
#![warn(clippy::undocumented_unsafe_blocks)]
#![allow(clippy::neg_cmp_op_on_partial_ord, reason = "`!(x > 0.0)` is how a NaN is refused")]

// Each level imports from those above it alone.
mod error;

mod kernels;

#[cfg(feature = "safetensors")]
mod bytes;

mod input;

mod factors;

mod problem;

mod result;

mod descent;

mod packed;

#[cfg(feature = "checkpoint")]
pub mod checkpoint;

#[cfg(feature = "capi")]
#[allow(unsafe_code, reason = "raw pointers come in here, and nowhere else")]
pub mod ffi;

pub use descent::core_update::sampled::SampledGroup;
pub use descent::core_update::sweep::{AnnealedSweep, ExactSweep};
pub use descent::core_update::update::CoreUpdate;
pub use descent::mask_selector::scores::{Magnitude, NoWagP, Wanda};
pub use descent::mask_selector::selector::MaskSelector;
pub use descent::mask_selector::sparse_gpt::SparseGpt;
#[cfg(feature = "serde")]
pub use descent::options::changes::OptionChanges;
pub use descent::options::{Method, Objective, Options};
pub use descent::progress::{Phase, Progress};
pub use descent::run::{Descent, factorize};
pub use descent::step::Step;
pub use descent::wrapper_update::adam::JointAdam;
pub use descent::wrapper_update::gradient::SequentialGradient;
pub use descent::wrapper_update::least_squares::LeastSquares;
pub use descent::wrapper_update::update::WrapperUpdate;
pub use error::{BoxError, Error, SourceError};
pub use factors::block_diagonal::BlockDiagonal;
pub use factors::partition::Partition;
pub use factors::pattern::Pattern;
pub use factors::precision::{FactorPrecision, Precision};
pub use factors::sparse_core::SparseCore;
pub use input::accumulator::HessianAccumulator;
pub use input::hessian::{Hessian, HessianKind};
pub use input::layer::Layer;
pub use input::pair_accumulator::PairAccumulator;
pub use input::pair_moments::PairMoments;
pub use input::weight::{Element, Weight};
pub use kernels::instructions::InstructionSet;
pub use packed::{PackedBytes, PackedFactorization};
pub use problem::correction::{Correction, CorrectionOptions};
pub use problem::correlation::Correlation;
pub use problem::coupling::Coupling;
pub use problem::normalization::Normalization;
pub use problem::proxy_loss::loss::ProxyLoss;
pub use problem::proxy_loss::nowag::NoWagLoss;
pub use problem::proxy_loss::output_error::{FullOutputError, OutputError, RowWeighting};
pub use problem::residual::Residual;
pub use problem::state::State;
pub use problem::target::Target;
pub use result::factorization::Factorization;
#[cfg(feature = "safetensors")]
pub use result::formats::format::Format;
pub use result::record::StopReason;

/// Measurements for benches; no part of the interface.
#[doc(hidden)]
pub mod bench {
    pub use crate::descent::core_update::workspace::SweepTimes;
}
