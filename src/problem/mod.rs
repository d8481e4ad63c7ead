//! The problem: the loss, the whitened target that it makes of a layer, and the factors that approximate it.

pub(crate) mod correction;
pub(crate) mod correlation;
pub(crate) mod coupling;
pub(crate) mod measure;
pub(crate) mod normalization;
pub(crate) mod pair_error;
pub(crate) mod proxy_loss;
pub(crate) mod residual;
pub(crate) mod ridge_factor;
pub(crate) mod state;
pub(crate) mod target;
pub(crate) mod weight_strip;
pub(crate) mod wrappers;
