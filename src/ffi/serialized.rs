//! Bytes of safetensors files: what all handles that have such bytes share.

use std::ffi::c_char;

use super::buffer::Buffer;
use super::failure::Failure;
use super::opaque::{self, Opaque};
use super::pointer::{Out, Span, input, text};
use crate::error::Error;

/// Writes the bytes that `write` returns for the caller's `name` to the caller's buffer, given as its pointer, its
/// capacity and the place for its length. `memory` is the memory of the handle.
///
/// # Safety
/// The contract of [`super`].
pub(super) unsafe fn serialize(
    memory: Span,
    name: *const c_char,
    (buffer, capacity, needed): (*mut u8, usize, *mut usize),
    write: impl FnOnce(&str) -> Result<Vec<u8>, Failure>,
) -> Result<(), Failure> {
    // SAFETY: the caller keeps the contract.
    let name = unsafe { text("name", name)? };
    let read = [memory, Span::new("name", name.as_ptr(), name.len() + 1)?];
    let buffer = Buffer::new("buffer", buffer, capacity, needed, &read)?;
    let bytes = write(name)?;
    // SAFETY: the caller keeps the contract.
    unsafe { buffer.fill(bytes.len(), || Ok(bytes)) }
}

/// Creates a handle with the value that `parse` reads from the caller's bytes under the caller's name.
///
/// # Safety
/// The contract of [`super`].
pub(super) unsafe fn deserialize<H: Opaque>(
    (bytes, len): (*const u8, usize),
    name: *const c_char,
    out: *mut *mut H,
    parse: impl FnOnce(&[u8], &str) -> Result<H::Inner, Error>,
) -> Result<(), Failure> {
    // SAFETY: the caller keeps the contract.
    let (file, name) = unsafe { (input("bytes", bytes, len)?, text("name", name)?) };
    let read = [Span::new("bytes", bytes, len)?, Span::new("name", name.as_ptr(), name.len() + 1)?];
    let out = Out::new("out", out)?.apart_from(&read)?;
    let value = parse(file, name)?;
    // SAFETY: the caller keeps the contract.
    unsafe { out.write(opaque::create(value)) };
    Ok(())
}
