//! The C ABI: it has the behaviour of the crate, and every wrong argument is a status with a message, and nothing is
//! written.

#![cfg(feature = "capi")]

mod accumulator;
mod bytes;
#[path = "../common/mod.rs"]
mod common;
mod copies;
mod exports;
mod growth;
mod header;
#[cfg(feature = "checkpoint")]
mod job;
mod library;
mod misaligned;
#[cfg(feature = "checkpoint")]
#[path = "../checkpoint/model.rs"]
mod model;
mod null;
mod objective;
mod options;
mod overflow;
mod overlap;
mod packed;
mod pair_accumulator;
mod setup;
#[path = "../suite/mod.rs"]
#[macro_use]
mod suite;
mod threads;
mod views;

mod behaviour {
    suite!(crate::library::Exports);
}
