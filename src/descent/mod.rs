//! How the factors are found: the loop, its options, and its parts.

mod annealing;
pub(crate) mod core_update;
mod finish;
pub(crate) mod mask_selector;
pub(crate) mod options;
pub(crate) mod progress;
pub(crate) mod run;
pub(crate) mod step;
mod trajectory;
pub(crate) mod wrapper_update;
