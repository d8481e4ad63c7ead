//! Pointers from outside: what can be checked about them, and reading and writing through them.

use std::ffi::{CStr, c_char};
use std::slice;

use super::status::{
    ARMOR_INVALID_TEXT, ARMOR_MISALIGNED, ARMOR_NULL_POINTER, ARMOR_OVERLAP, ARMOR_SIZE_OVERFLOW, ARMOR_STRUCT_SIZE,
    Failure,
};

/// A run of memory that an argument points to, checked for NULL, alignment and the end of the address space.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    argument: &'static str,
    start: usize,
    bytes: usize,
}

impl Span {
    /// Checks that `pointer` can be the start of `len` elements.
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

    /// Checks that this memory, which is to be written, shares no byte with the others.
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

pub(super) fn overflow(argument: &str, what: impl std::fmt::Display) -> Failure {
    Failure::new(ARMOR_SIZE_OVERFLOW, format!("{argument}: {what} reach beyond the address space"))
}

/// Borrows `len` elements to be read.
///
/// # Safety
/// The contract of [`super`].
pub(super) unsafe fn input<'a, T>(argument: &'static str, pointer: *const T, len: usize) -> Result<&'a [T], Failure> {
    Span::new(argument, pointer, len)?;
    // SAFETY: neither NULL nor misaligned nor too long; the caller vouches for the memory.
    Ok(unsafe { slice::from_raw_parts(pointer, len) })
}

/// Borrows a text that ends with a NUL.
///
/// # Safety
/// The contract of [`super`].
pub(super) unsafe fn text<'a>(argument: &'static str, pointer: *const c_char) -> Result<&'a str, Failure> {
    Span::new(argument, pointer, 1)?;
    // SAFETY: not NULL; the caller vouches for the NUL at its end.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map_err(|error| {
        let message = format!("{argument}: byte {} is not UTF-8", error.valid_up_to());
        Failure::new(ARMOR_INVALID_TEXT, message)
    })
}

/// Room for one value that a call gives back.
#[derive(Debug)]
pub(super) struct Out<T> {
    pointer: *mut T,
    pub span: Span,
}

impl<T> Out<T> {
    pub fn new(argument: &'static str, pointer: *mut T) -> Result<Self, Failure> {
        Ok(Out { pointer, span: Span::new(argument, pointer, 1)? })
    }

    /// Refuses room that lies in what the call reads.
    pub fn apart_from(self, inputs: &[Span]) -> Result<Self, Failure> {
        self.span.is_apart_from(inputs)?;
        Ok(self)
    }

    /// The same as [`Out::new`] for an argument that may be NULL.
    pub fn optional(argument: &'static str, pointer: *mut T) -> Result<Option<Self>, Failure> {
        if pointer.is_null() { Ok(None) } else { Self::new(argument, pointer).map(Some) }
    }

    /// Writes the value.
    ///
    /// # Safety
    /// The contract of [`super`].
    pub unsafe fn write(self, value: T) {
        // SAFETY: neither NULL nor misaligned; the caller vouches for the memory.
        unsafe { self.pointer.write(value) }
    }
}

/// A struct that starts with `struct_size`, its size when the caller was compiled, and only ever grows.
///
/// # Safety
/// `repr(C)`, `Copy`, first field `struct_size: usize`, every field but that one free to stay unwritten.
pub(super) unsafe trait Growing: Copy {
    /// Its size in the first version of the ABI.
    const FIRST_SIZE: usize;

    fn struct_size_mut(&mut self) -> &mut usize;
}

/// Writes as much of a growing struct as the caller has room for, and into its `struct_size` how much that was.
///
/// # Safety
/// The contract of [`super`], the memory being as long as its `struct_size`.
pub(super) unsafe fn write_growing<T: Growing>(out: Out<T>, mut value: T) -> Result<(), Failure> {
    // SAFETY: neither NULL nor misaligned; the caller set the first field.
    let given = unsafe { out.pointer.cast::<usize>().read() };
    if given < T::FIRST_SIZE {
        let argument = out.span.argument;
        let message = format!("{argument}.struct_size: is {given}, expected {} or more", T::FIRST_SIZE);
        return Err(Failure::new(ARMOR_STRUCT_SIZE, message));
    }
    let written = given.min(size_of::<T>());
    *value.struct_size_mut() = written;
    // SAFETY: both sides are at least `written` bytes long, and `value` is this function's own.
    unsafe { (&raw const value).cast::<u8>().copy_to_nonoverlapping(out.pointer.cast(), written) };
    Ok(())
}
