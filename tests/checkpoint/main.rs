//! Whole checkpoints: a small model in every format and back, bad inputs, kills, full disks.

#![cfg(feature = "checkpoint")]

mod by_caller;
mod by_pairs;
#[path = "../common/mod.rs"]
mod common;
mod decisions;
mod decode;
mod disk;
mod formats;
mod golden;
mod integrity;
mod kills;
mod model;
mod names;
mod number_types;
mod orientation;
mod overrides;
mod refusals;
mod replacement;
mod settings;
mod side_files;
mod small;
mod together;
mod which_files;
mod worked;
