//! The type of the handle.

use crate::ffi::guard::guard;
use crate::ffi::opaque::{self, Opaque};
use crate::result::factorization::Factorization;

/// A factorised layer: the product A * S * B that replaces the weight W. The wrappers A and B include all scales. A
/// factorisation never changes, so any number of threads may read it. armor_factorization_free frees it.
#[derive(Debug)]
pub struct FactorizationHandle {
    _opaque: (),
}

impl Opaque for FactorizationHandle {
    type Inner = Factorization;
    const TAG: u64 = u64::from_le_bytes(*b"armorFAC");
    const NAME: &'static str = "a factorization";
}

/// Frees a factorisation; NULL is allowed. No other call may use the factorisation at this time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_factorization_free(factorization: *mut FactorizationHandle) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { opaque::free("factorization", factorization) })
}
