//! The result: the factors of the caller's own weight, the record of the run, and the files that they are written as.

pub(crate) mod factorization;
#[cfg(feature = "safetensors")]
pub(crate) mod formats;
pub(crate) mod record;
#[cfg(feature = "safetensors")]
mod serialize;
