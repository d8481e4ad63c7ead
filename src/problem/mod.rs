//! The problem: the loss, the whitened target that it makes of a layer, and the factors that approximate it.

pub(crate) mod coupling;
pub(crate) mod loss;
pub(crate) mod measure;
pub(crate) mod normalization;
pub(crate) mod state;
pub(crate) mod target;
