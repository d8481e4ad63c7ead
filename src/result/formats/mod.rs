//! The formats that a factorisation is written in: each is a function of the factors alone and does no input or output.

pub(crate) mod contents;
mod core;
mod cutlass;
mod export;
pub(crate) mod factors;
pub(crate) mod format;
pub(crate) mod tensor;
mod values;
