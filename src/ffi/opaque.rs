//! Opaque handles: values that the library allocates, and that the caller knows by their address only.

use super::failure::Failure;
use super::pointer::Span;
use super::status::ARMOR_WRONG_HANDLE;

/// A handle type, which the caller sees as an opaque pointer.
pub(super) trait Opaque: Sized {
    /// The value behind a handle of this type. Any thread may use and free it.
    type Inner: Send + Sync;

    /// The first bytes of such a handle, which distinguish it from a handle of another type.
    const TAG: u64;

    /// The name of the handle type in messages.
    const NAME: &'static str;
}

#[repr(C)]
struct Tagged<T> {
    tag: u64,
    inner: T,
}

/// Allocates a handle with this value; [`free`] releases it.
pub(super) fn create<T: Opaque>(inner: T::Inner) -> *mut T {
    Box::into_raw(Box::new(Tagged { tag: T::TAG, inner })).cast()
}

/// Borrows the value of a handle, and returns the memory of the handle, which no call may use for its results.
///
/// # Safety
/// The contract of [`super`].
pub(super) unsafe fn borrow<'a, T: Opaque>(
    argument: &'static str,
    handle: *const T,
) -> Result<(&'a T::Inner, Span), Failure> {
    // SAFETY: the caller keeps the contract.
    let tagged = unsafe { check(argument, handle)? };
    // SAFETY: the tag shows that `create` allocated a value of this type there; the caller guarantees that it is not freed.
    Ok((unsafe { &(*tagged).inner }, Span::new(argument, tagged, 1)?))
}

/// Frees a handle; NULL is allowed.
///
/// # Safety
/// The contract of [`super`].
pub(super) unsafe fn free<T: Opaque>(argument: &'static str, handle: *mut T) -> Result<(), Failure> {
    if handle.is_null() {
        return Ok(());
    }
    // SAFETY: the caller keeps the contract.
    let tagged = unsafe { check(argument, handle)? };
    // SAFETY: the tag shows that `create` allocated a value of this type there; the caller guarantees that it is not freed.
    // The write is volatile, or the compiler would leave it out: it makes a second call on the freed handle likely to find
    // no tag.
    unsafe { (&raw mut (*tagged.cast_mut()).tag).write_volatile(0) };
    // SAFETY: as above.
    drop(unsafe { Box::from_raw(tagged.cast_mut()) });
    Ok(())
}

/// Checks that a pointer is a handle of this type.
///
/// # Safety
/// The contract of [`super`].
unsafe fn check<T: Opaque>(argument: &'static str, handle: *const T) -> Result<*const Tagged<T::Inner>, Failure> {
    Span::new(argument, handle.cast::<u64>(), 1)?;
    // SAFETY: the pointer is not NULL and is aligned, and every handle starts with a tag.
    let tag = unsafe { handle.cast::<u64>().read() };
    if tag != T::TAG {
        let message = format!("{argument}: is not a handle of {}", T::NAME);
        return Err(Failure::new(ARMOR_WRONG_HANDLE, message));
    }
    Ok(handle.cast())
}
