//! The handle of a finished factorisation.

use super::guard::guard;
use super::handle::{self, Opaque};
use crate::result::factorization::Factorization;

/// A factorised layer, A * S * B for the caller's own W: all scaling folded into the wrappers A and B. It never
/// changes, so any number of threads may read it; armor_factorization_free frees it.
#[derive(Debug)]
pub struct FactorizationHandle {
    _opaque: (),
}

impl Opaque for FactorizationHandle {
    type Inner = Factorization;
    const TAG: u64 = u64::from_le_bytes(*b"armorFAC");
    const NAME: &'static str = "a factorization";
}

/// Frees a factorisation; NULL is fine. No other call may be using it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_factorization_free(factorization: *mut FactorizationHandle) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { handle::free("factorization", factorization) })
}
