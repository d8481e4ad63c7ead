//! Packed factorisations: every kernel against its f64 twin, at sizes around every edge.

#![cfg(feature = "safetensors")]

#[path = "../common/mod.rs"]
mod common;
mod input;
mod kernels;
mod memory;
mod mixed;
mod setup;
mod special;
mod twin;
mod unpack;
