//! Which library this is.

use std::ffi::c_char;

use super::guard::guard;

/// The ABI that this header describes. It grows by one when functions, status numbers or fields are added, and the
/// library's soname changes when any are removed or altered; docs/c-api.md lists what counts as which.
pub const ARMOR_ABI_VERSION: u32 = 2;

/// Gives the ABI of the library that is loaded. It serves a program compiled against a header whose
/// ARMOR_ABI_VERSION is not above it. Any thread may call it.
#[unsafe(no_mangle)]
pub extern "C" fn armor_abi_version() -> u32 {
    guard(|| Ok(ARMOR_ABI_VERSION))
}

/// Gives the version of the library that is loaded, such as "0.1.0". The text lives as long as the library; any
/// thread may call this.
#[unsafe(no_mangle)]
pub extern "C" fn armor_version() -> *const c_char {
    guard(|| Ok(concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()))
}
