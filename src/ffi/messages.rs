//! The texts that explain a status.

use std::ffi::c_char;

use super::guard::{guard, last_message};
use super::status::message;

/// Returns a short description of a status number; "unknown status" for a number that is not a status. The result is
/// never NULL, and stays valid as long as the library is loaded. Any thread may call this function.
#[unsafe(no_mangle)]
pub extern "C" fn armor_status_message(status: u32) -> *const c_char {
    guard(|| Ok(message(status).as_ptr()))
}

/// Returns the message of the last call that failed on this thread: which argument was wrong, what was wrong with it,
/// and where (the first bad index). The text is empty if no call has failed on this thread. A call that succeeds does
/// not change it. The result is never NULL, is UTF-8, and stays valid until the next failure on this thread or until
/// the thread ends.
#[unsafe(no_mangle)]
pub extern "C" fn armor_last_error_message() -> *const c_char {
    guard(|| Ok(last_message()))
}
