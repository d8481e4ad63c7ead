//! Handles that calls change: one call at a time works with such a handle, and the other calls wait.

use std::ptr;
use std::sync::{Mutex, MutexGuard};

use super::failure::Failure;
use super::status::{ARMOR_OVERLAP, ARMOR_PANIC};

/// Waits until no other call uses the accumulator. After a panic its sums may be incomplete, so it is refused.
pub(super) fn lock<'a, T>(argument: &str, accumulator: &'a Mutex<T>) -> Result<MutexGuard<'a, T>, Failure> {
    accumulator.lock().map_err(|_| {
        Failure::new(ARMOR_PANIC, format!("{argument}: its sums may be incomplete after an earlier internal error"))
    })
}

/// Waits until no other call uses the accumulators `accumulator` and `other`, and refuses one that is both.
pub(super) fn lock_both<'a, T>(
    accumulator: &'a Mutex<T>,
    other: &'a Mutex<T>,
) -> Result<(MutexGuard<'a, T>, MutexGuard<'a, T>), Failure> {
    if ptr::eq(accumulator, other) {
        return Err(Failure::new(ARMOR_OVERLAP, "other: is the accumulator itself"));
    }
    // The lower address is always locked first: otherwise two threads that merge two accumulators in both directions could
    // wait for each other without end.
    if ptr::from_ref(accumulator) < ptr::from_ref(other) {
        let accumulator = lock("accumulator", accumulator)?;
        Ok((accumulator, lock("other", other)?))
    } else {
        let other = lock("other", other)?;
        Ok((lock("accumulator", accumulator)?, other))
    }
}
