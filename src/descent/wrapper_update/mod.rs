//! The continuous step of an iteration (the paper's section 3.2): how the block-diagonal wrappers move.

pub(crate) mod adam;
mod coupled;
pub(crate) mod gradient;
pub(crate) mod least_squares;
mod normal_equations;
mod solution;
pub(crate) mod update;
