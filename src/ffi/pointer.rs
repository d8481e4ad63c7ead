//! The caller's pointers: the checks that are possible, and access through them.

use std::ffi::{CStr, c_char};
use std::slice;
use std::str::Utf8Error;

use super::failure::Failure;
use super::status::{
    ARMOR_INVALID_TEXT, ARMOR_MISALIGNED, ARMOR_NULL_POINTER, ARMOR_OVERLAP, ARMOR_SIZE_OVERFLOW, ARMOR_STRUCT_SIZE,
};

/// Stores the address and length of the memory behind an argument. The pointer is not NULL and is aligned, and the memory
/// ends within the address space.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    argument: &'static str,
    start: usize,
    bytes: usize,
}

impl Span {
    /// Checks that `pointer` can point to `len` elements.
    pub fn new<T>(argument: &'static str, pointer: *const T, len: usize) -> Result<Self, Failure> {
        if pointer.is_null() {
            return Err(Failure::new(ARMOR_NULL_POINTER, format!("{argument}: is NULL")));
        }
        if !pointer.is_aligned() {
            let message = format!("{argument}: {pointer:p} is not a multiple of {}", align_of::<T>());
            return Err(Failure::new(ARMOR_MISALIGNED, message));
        }
        let start = pointer.addr();
        len.checked_mul(size_of::<T>())
            .filter(|&bytes| bytes <= isize::MAX as usize && start.checked_add(bytes).is_some())
            .map(|bytes| Span { argument, start, bytes })
            .ok_or_else(|| overflow(argument, format!("{len} elements of {} bytes", size_of::<T>())))
    }

    /// Checks that this memory, which the call will write, shares no byte with `others`.
    pub fn is_apart_from(self, others: &[Span]) -> Result<(), Failure> {
        let shares = |other: &&Span| self.start < other.start + other.bytes && other.start < self.start + self.bytes;
        match others.iter().find(shares) {
            Some(other) => {
                let message = format!("{}: overlaps {}", self.argument, other.argument);
                Err(Failure::new(ARMOR_OVERLAP, message))
            }
            None => Ok(()),
        }
    }
}

/// Describes a size beyond the address space.
pub(super) fn overflow(argument: &str, what: impl std::fmt::Display) -> Failure {
    Failure::new(ARMOR_SIZE_OVERFLOW, format!("{argument}: {what} reach beyond the address space"))
}

/// Borrows `len` elements for reading.
///
/// # Safety
/// The contract of [`super`].
pub(super) unsafe fn input<'a, T>(argument: &'static str, pointer: *const T, len: usize) -> Result<&'a [T], Failure> {
    Span::new(argument, pointer, len)?;
    // SAFETY: the pointer is not NULL, is aligned, and its length was checked; the caller keeps the module's contract.
    Ok(unsafe { slice::from_raw_parts(pointer, len) })
}

/// Borrows a text that ends with a NUL byte.
///
/// # Safety
/// The contract of [`super`].
pub(super) unsafe fn text<'a>(argument: &'static str, pointer: *const c_char) -> Result<&'a str, Failure> {
    Span::new(argument, pointer, 1)?;
    // SAFETY: the pointer is not NULL; the caller guarantees the NUL byte at the end.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map_err(|error| not_utf8(argument, error))
}

/// Borrows `len` bytes of UTF-8, without a NUL byte at the end.
///
/// # Safety
/// The contract of [`super`].
pub(super) unsafe fn utf8<'a>(argument: &'static str, pointer: *const u8, len: usize) -> Result<&'a str, Failure> {
    // SAFETY: the caller keeps the contract.
    let bytes = unsafe { input(argument, pointer, len)? };
    std::str::from_utf8(bytes).map_err(|error| not_utf8(argument, error))
}

/// Describes a text that is not UTF-8.
fn not_utf8(argument: &str, error: Utf8Error) -> Failure {
    Failure::new(ARMOR_INVALID_TEXT, format!("{argument}: byte {} is not UTF-8", error.valid_up_to()))
}

/// Stores a checked pointer to a place for one value that a call returns.
#[derive(Debug)]
pub(super) struct Out<T> {
    pointer: *mut T,
    pub span: Span,
}

impl<T> Out<T> {
    pub fn new(argument: &'static str, pointer: *mut T) -> Result<Self, Failure> {
        Ok(Out { pointer, span: Span::new(argument, pointer, 1)? })
    }

    /// Refuses a place inside the memory that the call reads.
    pub fn apart_from(self, inputs: &[Span]) -> Result<Self, Failure> {
        self.span.is_apart_from(inputs)?;
        Ok(self)
    }

    /// Does the same as [`Out::new`] for an argument that may be NULL.
    pub fn optional(argument: &'static str, pointer: *mut T) -> Result<Option<Self>, Failure> {
        if pointer.is_null() { Ok(None) } else { Self::new(argument, pointer).map(Some) }
    }

    /// Writes the value.
    ///
    /// # Safety
    /// The contract of [`super`].
    pub unsafe fn write(self, value: T) {
        // SAFETY: the pointer is not NULL and is aligned; the caller keeps the module's contract.
        unsafe { self.pointer.write(value) }
    }
}

/// A struct that later versions extend at its end. Its first field, `struct_size`, is its size in the header that the
/// caller was compiled with.
///
/// # Safety
/// The type is `repr(C)` and `Copy`, its first field is `struct_size: usize`, and every other field may stay unwritten.
pub(super) unsafe trait Growing: Copy {
    /// The size of the struct in the first version of the ABI.
    const FIRST_SIZE: usize;

    fn struct_size_mut(&mut self) -> &mut usize;
}

/// Checks the caller's `struct_size`, and returns how many bytes of the struct it allows.
///
/// # Safety
/// The contract of [`super`]; the memory is at least as long as its `struct_size`.
pub(super) unsafe fn growing_size<T: Growing>(out: &Out<T>) -> Result<usize, Failure> {
    // SAFETY: the pointer is not NULL and is aligned; the caller has set the first field.
    let given = unsafe { out.pointer.cast::<usize>().read() };
    if given < T::FIRST_SIZE {
        let argument = out.span.argument;
        let message = format!("{argument}.struct_size: is {given}, expected {} or more", T::FIRST_SIZE);
        return Err(Failure::new(ARMOR_STRUCT_SIZE, message));
    }
    Ok(given.min(size_of::<T>()))
}

/// Writes as many bytes of a growing struct as the caller's `struct_size` allows, and sets `struct_size` to that number.
///
/// # Safety
/// That of [`growing_size`].
pub(super) unsafe fn write_growing<T: Growing>(out: Out<T>, mut value: T) -> Result<(), Failure> {
    // SAFETY: the caller keeps the contract.
    let written = unsafe { growing_size(&out)? };
    *value.struct_size_mut() = written;
    // SAFETY: both sides are at least `written` bytes long, and `value` belongs to this function.
    unsafe { (&raw const value).cast::<u8>().copy_to_nonoverlapping(out.pointer.cast(), written) };
    Ok(())
}
