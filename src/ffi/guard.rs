//! What stands between every export and its caller: panics become statuses, failures leave a message.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::status::{ARMOR_OK, ARMOR_PANIC, Failure};

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::default();
}

/// What an export hands back: `()` becomes a status, a value that cannot fail stays what it is.
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

/// Runs an export's body; a panic that reaches it is caught here.
pub(super) fn guard<T: Outcome>(body: impl FnOnce() -> Result<T, Failure>) -> T::Returned {
    // Unwind safe: bodies write the caller's memory last, and handles never change while they are computed with,
    // but for accumulators, whose lock remembers the panic.
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
    // While the thread ends there may be nowhere left to keep a message.
    let _ = LAST_ERROR.try_with(|last| last.replace(message));
}

/// Says why the last call on this thread that failed did: which argument, what was wrong with it, and where (the
/// first bad index). An empty text if none has failed. Never NULL, UTF-8; the text lives until the next call on this
/// thread that fails, or the thread's end.
#[unsafe(no_mangle)]
pub extern "C" fn armor_last_error_message() -> *const c_char {
    guard(|| {
        let message = LAST_ERROR.try_with(|last| last.borrow().as_ptr());
        Ok(message.unwrap_or(c"".as_ptr()))
    })
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
        let message = unsafe { CStr::from_ptr(armor_last_error_message()) };
        assert_eq!(message.to_str(), Ok("internal error: entry 7 has a hole"));
    }

    #[test]
    fn a_message_may_hold_a_nul() {
        let status = guard::<()>(|| Err(Failure::new(12, "bytes: a\0b: no such tensor")));
        assert_eq!(status, 12);
        // SAFETY: as above.
        let message = unsafe { CStr::from_ptr(armor_last_error_message()) };
        assert_eq!(message.to_str(), Ok("bytes: a␀b: no such tensor"));
    }
}
