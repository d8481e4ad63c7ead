//! What the examples share: the layer they read, and how they show and write results.

pub mod arguments;
pub mod files;
pub mod heldout;
pub mod input;
pub mod progress;
pub mod terminal;
pub mod ticks;

pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;
