//! The core step of an iteration (the paper's section 3.3): the mask and the values of every group, given the wrappers.

mod batch;
mod coupled;
mod group_solve;
mod group_tables;
mod noise;
pub(crate) mod sampled;
mod separable;
mod strip;
pub(crate) mod sweep;
mod tracked_loss;
pub(crate) mod update;
pub(crate) mod workspace;
