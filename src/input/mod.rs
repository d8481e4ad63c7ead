//! The input: a layer's weight, and the second moments of its inputs.

pub(crate) mod accumulator;
pub(crate) mod activations;
pub(crate) mod hessian;
pub(crate) mod layer;
pub(crate) mod pair_accumulator;
pub(crate) mod pair_moments;
#[cfg(feature = "safetensors")]
pub(crate) mod stored_sums;
pub(crate) mod triangle;
pub(crate) mod weight;
