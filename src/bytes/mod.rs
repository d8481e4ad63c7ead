//! Safetensors files as bytes: headers and tensors, checked as they are read, and the same bytes for the same content;
//! JSON objects, whose keys must be known and unique.

pub(crate) mod header;
pub(crate) mod json;
pub(crate) mod keys;
pub(crate) mod reader;
