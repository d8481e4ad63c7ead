//! The input: a layer's weight, and the second moment of its inputs.

pub(crate) mod accumulator;
pub(crate) mod hessian;
pub(crate) mod layer;
pub(crate) mod weight;
