//! Handles: boxes of the library's own that a caller only ever holds by their address.

use super::pointer::Span;
use super::status::{ARMOR_WRONG_HANDLE, Failure};

/// A type that the caller sees as an opaque pointer.
pub(super) trait Opaque: Sized {
    /// What a handle of this type holds.
    type Inner;

    /// First bytes of such a handle, so that a handle of another type is told apart.
    const TAG: u64;

    /// What the handle is called in messages.
    const NAME: &'static str;
}

#[repr(C)]
struct Tagged<T> {
    tag: u64,
    inner: T,
}

/// Boxes a value; `free` takes it back.
pub(super) fn create<T: Opaque>(inner: T::Inner) -> *mut T {
    Box::into_raw(Box::new(Tagged { tag: T::TAG, inner })).cast()
}

/// Borrows what a handle holds, and says which memory that is: no call may write its results there.
///
/// # Safety
/// The contract of [`super`].
pub(super) unsafe fn borrow<'a, T: Opaque>(
    argument: &'static str,
    handle: *const T,
) -> Result<(&'a T::Inner, Span), Failure> {
    // SAFETY: passed on.
    let tagged = unsafe { check(argument, handle)? };
    // SAFETY: the tag says that `create` boxed a value of this type there, and the caller that it is not freed.
    Ok((unsafe { &(*tagged).inner }, Span::new(argument, tagged, 1)?))
}

/// Frees a handle; NULL is fine.
///
/// # Safety
/// The contract of [`super`].
pub(super) unsafe fn free<T: Opaque>(argument: &'static str, handle: *mut T) -> Result<(), Failure> {
    if handle.is_null() {
        return Ok(());
    }
    // SAFETY: passed on.
    let tagged = unsafe { check(argument, handle)? };
    // SAFETY: the tag says that `create` boxed a value of this type there, and the caller that it is not freed.
    drop(unsafe { Box::from_raw(tagged.cast_mut()) });
    Ok(())
}

/// # Safety
/// The contract of [`super`].
unsafe fn check<T: Opaque>(argument: &'static str, handle: *const T) -> Result<*const Tagged<T::Inner>, Failure> {
    Span::new(argument, handle.cast::<u64>(), 1)?;
    // SAFETY: neither NULL nor misaligned, and every handle starts with a tag.
    let tag = unsafe { handle.cast::<u64>().read() };
    if tag != T::TAG {
        let message = format!("{argument}: is not a handle of {}", T::NAME);
        return Err(Failure::new(ARMOR_WRONG_HANDLE, message));
    }
    Ok(handle.cast())
}
