//! What comes out: the factors of the caller's own weight, how they were reached, and what they are written as.

pub(crate) mod factorization;
#[cfg(feature = "safetensors")]
pub(crate) mod formats;
pub(crate) mod record;
#[cfg(feature = "safetensors")]
mod serialize;
