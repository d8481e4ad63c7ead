//! The input: a layer's weight, and the second moment of its inputs.

pub(crate) mod accumulator;
pub(crate) mod activations;
pub(crate) mod hessian;
pub(crate) mod layer;
#[cfg(feature = "safetensors")]
pub(crate) mod stored_sums;
pub(crate) mod triangle;
pub(crate) mod weight;
