//! Safetensors files as bytes: headers and tensors, checked as they are read, and the same bytes for the same content.

pub(crate) mod header;
pub(crate) mod keys;
pub(crate) mod reader;
