//! The factors: block-diagonal wrappers around an N:M sparse core.

pub(crate) mod block_diagonal;
pub(crate) mod groups;
pub(crate) mod partition;
pub(crate) mod pattern;
pub(crate) mod precision;
pub(crate) mod range;
pub(crate) mod sparse_core;
pub(crate) mod triple;
