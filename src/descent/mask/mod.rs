//! Which N of every M entries the core keeps: initial masks, and the core's update of every iteration.

mod coupled;
mod group_solve;
mod groups;
pub(crate) mod initial;
mod noise;
pub(crate) mod sampled;
pub(crate) mod selector;
pub(crate) mod sparse_gpt;
mod strip;
pub(crate) mod sweep;
mod tracked_loss;
