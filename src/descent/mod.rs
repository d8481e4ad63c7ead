//! How the factors are found: the loop, its options, and its parts.

pub(crate) mod mask;
pub(crate) mod options;
pub(crate) mod progress;
pub(crate) mod run;
pub(crate) mod step;
mod trajectory;
pub(crate) mod wrapper;
