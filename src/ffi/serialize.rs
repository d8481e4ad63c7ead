//! Factorisations to bytes and back.

use std::ffi::c_char;

use super::copy::Buffer;
use super::factorization::FactorizationHandle;
use super::guard::guard;
use super::handle::{self, Opaque};
use super::pointer::{Out, Span, input, text};
use super::status::Failure;
use crate::error::Error;
use crate::result::factorization::Factorization;

/// Writes a factorisation as a safetensors file to buffer, which holds capacity bytes. name is that of the weight
/// without ".weight", UTF-8; docs/c-api.md lists the tensors. Equal factorisations give equal bytes.
///
/// needed, which may be NULL, gets the number of bytes, also on ARMOR_BUFFER_TOO_SMALL, when nothing else is written;
/// buffer NULL with capacity 0 asks for it. Fails with ARMOR_INVALID_TEXT for a name that is not UTF-8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_factorization_serialize(
    factorization: *const FactorizationHandle,
    name: *const c_char,
    buffer: *mut u8,
    capacity: usize,
    needed: *mut usize,
) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let ((factorization, memory), name) =
            unsafe { (handle::borrow("factorization", factorization)?, text("name", name)?) };
        let read = [memory, Span::new("name", name.as_ptr(), name.len() + 1)?];
        let buffer = Buffer::new("buffer", buffer, capacity, needed, &read)?;
        let bytes = factorization.to_safetensors(name)?;
        // SAFETY: the caller keeps the module's contract.
        unsafe { buffer.fill(bytes.len(), || Ok(bytes)) }
    })
}

/// Reads the factorisation of name from len bytes of a safetensors file, and writes its handle to out; free it with
/// armor_factorization_free. The bytes need no alignment and are not kept.
///
/// Fails with ARMOR_INVALID_BYTES, and a message that names the key, for a file that is cut off, lies about its data,
/// lacks a tensor, or holds a wrong shape, a mask that is not N:M or a value that is not finite.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_factorization_deserialize(
    bytes: *const u8,
    len: usize,
    name: *const c_char,
    out: *mut *mut FactorizationHandle,
) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        unsafe { read(bytes, len, name, out, Factorization::from_safetensors) }
    })
}

/// Makes a handle of what `parse` reads from bytes of the caller's, by a name of the caller's.
///
/// # Safety
/// The contract of [`super`].
pub(super) unsafe fn read<H: Opaque>(
    bytes: *const u8,
    len: usize,
    name: *const c_char,
    out: *mut *mut H,
    parse: impl FnOnce(&[u8], &str) -> Result<H::Inner, Error>,
) -> Result<(), Failure> {
    // SAFETY: passed on.
    let (file, name) = unsafe { (input("bytes", bytes, len)?, text("name", name)?) };
    let read = [Span::new("bytes", bytes, len)?, Span::new("name", name.as_ptr(), name.len() + 1)?];
    let out = Out::new("out", out)?.apart_from(&read)?;
    let result = parse(file, name)?;
    // SAFETY: passed on.
    unsafe { out.write(handle::create(result)) };
    Ok(())
}
