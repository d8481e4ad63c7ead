//! Whole checkpoints: a small model in every format and back, bad inputs, kills, full disks.

#![cfg(feature = "checkpoint")]

#[path = "../common/mod.rs"]
mod common;
mod decode;
mod disk;
mod formats;
mod golden;
mod integrity;
mod kills;
mod model;
mod names;
mod refusals;
mod settings;
mod together;
mod worked;
