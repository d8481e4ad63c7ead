//! Arrays that a call copies to the caller's memory.

use std::ffi::c_char;

use super::failure::Failure;
use super::pointer::{Out, Span};
use super::status::ARMOR_BUFFER_TOO_SMALL;

/// Stores the caller's checked pointers to a buffer for an array and to a place for its length.
pub(super) struct Buffer<T> {
    argument: &'static str,
    data: *mut T,
    capacity: usize,
    /// The memory of the buffer; `None` if the caller only asks for the size.
    span: Option<Span>,
    needed: Option<Out<usize>>,
}

impl<T: Copy> Buffer<T> {
    /// Checks the caller's pointers. A NULL buffer with capacity 0 asks for the size only.
    pub fn new(
        argument: &'static str,
        data: *mut T,
        capacity: usize,
        needed: *mut usize,
        inputs: &[Span],
    ) -> Result<Self, Failure> {
        let needed = Out::optional("needed", needed)?;
        let asks = data.is_null() && capacity == 0;
        let span = if asks { None } else { Some(Span::new(argument, data, capacity)?) };
        if let Some(span) = span {
            span.is_apart_from(inputs)?;
        }
        if let Some(needed) = &needed {
            needed.span.is_apart_from(span.as_slice())?;
            needed.span.is_apart_from(inputs)?;
        }
        Ok(Buffer { argument, data, capacity, span, needed })
    }

    /// Writes the `len` elements that `make` returns. A buffer that is too small gets no elements, only `needed` is written.
    ///
    /// # Safety
    /// The contract of [`super`].
    pub unsafe fn fill(self, len: usize, make: impl FnOnce() -> Result<Vec<T>, Failure>) -> Result<(), Failure> {
        let fits = self.span.is_some() && len <= self.capacity;
        if fits {
            let values = make()?;
            assert_eq!(values.len(), len, "an array has the size that was announced");
            // SAFETY: the span, which covers the capacity, was checked, and the new values share no memory with the caller.
            unsafe { values.as_ptr().copy_to_nonoverlapping(self.data, len) };
        }
        if let Some(needed) = self.needed {
            // SAFETY: the caller keeps the module's contract.
            unsafe { needed.write(len) };
        }
        if fits {
            Ok(())
        } else {
            let message = format!("{}: holds {} elements, needs {len}", self.argument, self.capacity);
            Err(Failure::new(ARMOR_BUFFER_TOO_SMALL, message))
        }
    }
}

impl Buffer<c_char> {
    /// Writes a text, with a NUL byte at its end.
    ///
    /// # Safety
    /// The contract of [`super`].
    pub unsafe fn fill_text(self, text: &str) -> Result<(), Failure> {
        let characters = || text.bytes().chain([0]).map(|byte| byte as c_char).collect();
        // SAFETY: the caller keeps the contract.
        unsafe { self.fill(text.len() + 1, || Ok(characters())) }
    }
}
