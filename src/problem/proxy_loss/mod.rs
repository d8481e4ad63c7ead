//! The loss that stands in for the network's own.

pub(crate) mod loss;
pub(crate) mod nowag;
pub(crate) mod output_error;
