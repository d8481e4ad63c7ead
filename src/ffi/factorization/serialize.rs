//! A factorisation as the bytes of a safetensors file, and back.

use std::ffi::c_char;

use super::handle::FactorizationHandle;
use crate::ffi::guard::guard;
use crate::ffi::opaque;
use crate::ffi::serialized::{deserialize, serialize};
use crate::result::factorization::Factorization;

/// Writes a factorisation as the bytes of a safetensors file to buffer, which has space for capacity bytes. name is the
/// name of the weight without ".weight", in UTF-8. docs/c-api.md lists the tensors. Equal factorisations give equal
/// bytes.
///
/// needed may be NULL; otherwise the number of bytes is written there, also on ARMOR_BUFFER_TOO_SMALL, when nothing else
/// is written. To ask for the number only, pass NULL and 0 for buffer and capacity. The call fails with
/// ARMOR_INVALID_TEXT if name is not UTF-8.
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
        let (factorization, memory) = unsafe { opaque::borrow("factorization", factorization)? };
        let write = |name: &str| Ok(factorization.to_safetensors(name)?);
        // SAFETY: the caller keeps the module's contract.
        unsafe { serialize(memory, name, (buffer, capacity, needed), write) }
    })
}

/// Reads the factorisation of the weight name from the len bytes of a safetensors file, and writes its handle to out. Free
/// the handle with armor_factorization_free. The bytes need no alignment, and the library reads them only during the call.
///
/// The call fails with ARMOR_INVALID_BYTES, and a message that contains the key, if the file is cut off, if it has another
/// armor.format than the library reads, if its header does not match its data, if a tensor is missing or has a wrong shape, if a mask does not have the pattern N:M, or if a value
/// is not finite.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_factorization_deserialize(
    bytes: *const u8,
    len: usize,
    name: *const c_char,
    out: *mut *mut FactorizationHandle,
) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { deserialize((bytes, len), name, out, Factorization::from_safetensors) })
}
