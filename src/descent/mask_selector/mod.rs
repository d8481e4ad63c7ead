//! The initial mask: which N of every M entries the core keeps before any wrapper exists.

pub(crate) mod scores;
pub(crate) mod selector;
pub(crate) mod sparse_gpt;
