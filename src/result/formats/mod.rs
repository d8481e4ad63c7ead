//! The formats that a factorisation is written in: each is a function of the factors alone and does no input or output.

mod contents;
mod core;
mod cutlass;
mod export;
mod factors;
pub(crate) mod format;
mod tensor;
mod values;

#[cfg(feature = "checkpoint")]
pub(crate) use contents::{names, tensors};
#[cfg(feature = "checkpoint")]
pub(crate) use factors::metadata;
#[cfg(feature = "checkpoint")]
pub(crate) use format::Format;
#[cfg(feature = "checkpoint")]
pub(crate) use tensor::Tensor;
