//! Which library is loaded, and what it was built with.

use std::ffi::c_char;

use super::guard::guard;

/// The version of the ABI that this header describes. It grows by one whenever the ABI changes. docs/c-api.md says
/// which changes also change the library's soname.
pub const ARMOR_ABI_VERSION: u32 = 5;

/// The library has the functions armor_job_*: it was built with the feature `checkpoint`.
pub const ARMOR_FEATURE_CHECKPOINT: u32 = 1;
/// The library computes Cholesky factorisations with the system's LAPACK: it was built with the feature `lapack`.
pub const ARMOR_FEATURE_LAPACK: u32 = 2;

/// Returns the ABI version of the loaded library. The library serves a program that was compiled with a header whose
/// ARMOR_ABI_VERSION is equal or lower. Any thread may call this function.
#[unsafe(no_mangle)]
pub extern "C" fn armor_abi_version() -> u32 {
    guard(|| Ok(ARMOR_ABI_VERSION))
}

/// Returns the version of the loaded library as text, for example "0.1.0". The text stays valid as long as the library
/// is loaded. Any thread may call this function.
#[unsafe(no_mangle)]
pub extern "C" fn armor_version() -> *const c_char {
    guard(|| Ok(concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()))
}

/// Returns the optional parts of the loaded library: the sum of the ARMOR_FEATURE_* that it was built with. Any thread
/// may call this function.
#[unsafe(no_mangle)]
pub extern "C" fn armor_features() -> u32 {
    guard(|| {
        let checkpoint = if cfg!(feature = "checkpoint") { ARMOR_FEATURE_CHECKPOINT } else { 0 };
        let lapack = if cfg!(feature = "lapack") { ARMOR_FEATURE_LAPACK } else { 0 };
        Ok(checkpoint | lapack)
    })
}
