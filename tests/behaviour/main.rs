//! The behaviour of the crate that the C ABI shares.

#![cfg(feature = "safetensors")]

#[path = "../common/mod.rs"]
mod common;
mod native;
#[path = "../suite/mod.rs"]
#[macro_use]
mod suite;

suite!(crate::native::Native);
