//! The guard around every export: it turns panics into statuses, and keeps the message of a failure.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::failure::Failure;
use super::status::{ARMOR_OK, ARMOR_PANIC};

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::default();
}

/// Converts the result of an export's body to what the export returns: `()` becomes a status, other values are returned
/// unchanged.
pub(super) trait Outcome {
    type Returned;
    fn success(self) -> Self::Returned;
    fn failure(status: u32) -> Self::Returned;
}

impl Outcome for () {
    type Returned = u32;

    fn success(self) -> u32 {
        ARMOR_OK
    }

    fn failure(status: u32) -> u32 {
        status
    }
}

impl Outcome for u32 {
    type Returned = u32;

    fn success(self) -> u32 {
        self
    }

    fn failure(_: u32) -> u32 {
        0
    }
}

impl Outcome for *const c_char {
    type Returned = *const c_char;

    fn success(self) -> *const c_char {
        self
    }

    fn failure(_: u32) -> *const c_char {
        c"".as_ptr()
    }
}

/// Runs an export's body, and catches a panic.
pub(super) fn guard<T: Outcome>(body: impl FnOnce() -> Result<T, Failure>) -> T::Returned {
    // This is unwind safe: a body writes the caller's memory last, and no computation changes a handle that it reads. The
    // exception is the accumulator, whose lock is poisoned by a panic.
    let result = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| Err(panicked(payload.as_ref())));
    match result {
        Ok(outcome) => outcome.success(),
        Err(failure) => {
            remember(failure.message);
            T::failure(failure.status)
        }
    }
}

fn panicked(payload: &(dyn Any + Send)) -> Failure {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
    Failure::new(ARMOR_PANIC, format!("internal error: {text}"))
}

fn remember(message: String) {
    let message = CString::new(message.replace('\0', "␀")).unwrap_or_default();
    // The storage of a thread that is ending may be gone already.
    let _ = LAST_ERROR.try_with(|last| last.replace(message));
}

/// Returns the message of the last failure on this thread; an empty text if no call has failed.
pub(super) fn last_message() -> *const c_char {
    LAST_ERROR.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    #[test]
    fn a_panic_becomes_a_status_and_a_message() {
        let status = guard::<()>(|| panic!("entry {} has a hole", 7));
        assert_eq!(status, ARMOR_PANIC);
        // SAFETY: the message is a C string that lives until this thread's next failure.
        let message = unsafe { CStr::from_ptr(last_message()) };
        assert_eq!(message.to_str(), Ok("internal error: entry 7 has a hole"));
    }

    #[test]
    fn a_message_may_hold_a_nul() {
        let status = guard::<()>(|| Err(Failure::new(12, "bytes: a\0b: no such tensor")));
        assert_eq!(status, 12);
        // SAFETY: as above.
        let message = unsafe { CStr::from_ptr(last_message()) };
        assert_eq!(message.to_str(), Ok("bytes: a␀b: no such tensor"));
    }
}
