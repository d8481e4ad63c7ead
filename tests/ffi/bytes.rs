//! Bytes of factorisations: buffers, names, and results that stay as they were.

use std::ffi::CStr;
use std::ptr;

use armor_core::ffi::*;

use crate::setup::*;

const NAME: &CStr = c"model.layers.0.mlp.up_proj";

fn serialized(factorization: &Owned<FactorizationHandle>) -> Vec<u8> {
    let (handle, name) = (factorization.pointer, NAME.as_ptr());
    let mut len = 0;
    // SAFETY: the handle is alive, and the buffers are as long as they say.
    unsafe {
        let status = armor_factorization_serialize(handle, name, ptr::null_mut(), 0, &mut len);
        assert_eq!(status, ARMOR_BUFFER_TOO_SMALL);
        let mut bytes = vec![0; len];
        let status = armor_factorization_serialize(handle, name, bytes.as_mut_ptr(), len - 1, ptr::null_mut());
        assert_eq!(status, ARMOR_BUFFER_TOO_SMALL);
        assert!(bytes.iter().all(|&byte| byte == 0));
        assert_ok(armor_factorization_serialize(handle, name, bytes.as_mut_ptr(), len, ptr::null_mut()));
        bytes
    }
}

fn deserialize(bytes: &[u8], name: &CStr, out: &mut *mut FactorizationHandle) -> u32 {
    // SAFETY: the bytes are as many as they say.
    unsafe { armor_factorization_deserialize(bytes.as_ptr(), bytes.len(), name.as_ptr(), out) }
}

#[test]
fn a_buffer_that_is_too_small_stays_as_it_was() {
    let small = Small::new();
    let factorization = small.in_c();
    let bytes = serialized(&factorization);
    let name = NAME.to_str().expect("ASCII");
    assert_eq!(bytes, small.in_rust().to_safetensors(name).expect("fits"), "equal factorisations give equal bytes");
}

#[test]
fn bytes_that_hold_none() {
    let small = Small::new();
    let bytes = serialized(&small.in_c());
    let mut out = untouched();
    let status = deserialize(&bytes, c"another", &mut out);
    assert_refused(status, ARMOR_INVALID_BYTES, "bytes: another.armor.core.shape: no such tensor");
    let status = deserialize(&bytes[..bytes.len() - 1], NAME, &mut out);
    assert_eq!(status, ARMOR_INVALID_BYTES);
    assert!(last_message().starts_with("bytes: header: describes "), "{}", last_message());
    let status = deserialize(b"GGUF", NAME, &mut out);
    assert_refused(status, ARMOR_INVALID_BYTES, "bytes: header: cut off: the file ends at byte 4, before byte 8");
    assert_eq!(out, untouched());
}

#[test]
fn a_name_that_is_not_utf_8() {
    let small = Small::new();
    let factorization = small.in_c();
    let name = c"layer\xff";
    let mut needed = 7;
    let mut out = untouched();
    // SAFETY: the handle is alive.
    let status =
        unsafe { armor_factorization_serialize(factorization.pointer, name.as_ptr(), ptr::null_mut(), 0, &mut needed) };
    assert_refused(status, ARMOR_INVALID_TEXT, "name: byte 5 is not UTF-8");
    assert_refused(deserialize(b"x", name, &mut out), ARMOR_INVALID_TEXT, "name: byte 5 is not UTF-8");
    assert_eq!((needed, out), (7, untouched()));
}
