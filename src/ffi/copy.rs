//! Copies of a factorisation's parts in the caller's own memory, and its product with a vector.

use ndarray::ArrayView1;

use super::factorization::FactorizationHandle;
use super::guard::guard;
use super::handle;
use super::pointer::{Out, Span, input};
use super::sizes::Sizes;
use super::status::{ARMOR_BUFFER_TOO_SMALL, Failure};
use crate::kernels::pool;
use crate::result::factorization::Factorization;

/// Room of the caller's for an array, and for its length.
pub(super) struct Buffer<T> {
    argument: &'static str,
    data: *mut T,
    capacity: usize,
    /// The memory that may be written; none is when the caller only asks for the size.
    span: Option<Span>,
    needed: Option<Out<usize>>,
}

impl<T: Copy> Buffer<T> {
    /// Checks the caller's pointers; NULL with capacity 0 asks for the size.
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

    /// Writes what `make` makes, `len` elements, or only how many they are where there is no room.
    ///
    /// # Safety
    /// The contract of [`super`].
    pub unsafe fn fill(self, len: usize, make: impl FnOnce() -> Result<Vec<T>, Failure>) -> Result<(), Failure> {
        let fits = self.span.is_some() && len <= self.capacity;
        if fits {
            let values = make()?;
            assert_eq!(values.len(), len, "an array has the size that is told of it");
            // SAFETY: the span, as long as the capacity, was checked, and fresh values overlap nothing of the caller's.
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

/// Copies one array of a factorisation out.
///
/// # Safety
/// The contract of [`super`].
unsafe fn copy<T: Copy>(
    factorization: *const FactorizationHandle,
    (buffer, capacity, needed): (*mut T, usize, *mut usize),
    len: impl FnOnce(&Sizes) -> usize,
    make: impl FnOnce(&Factorization) -> Result<Vec<T>, Failure>,
) -> Result<(), Failure> {
    // SAFETY: passed on.
    let (factorization, memory) = unsafe { handle::borrow("factorization", factorization)? };
    let buffer = Buffer::new("buffer", buffer, capacity, needed, &[memory])?;
    // SAFETY: passed on.
    unsafe { buffer.fill(len(&Sizes::of(factorization)), || make(factorization)) }
}

/// Copies the left wrapper A to buffer, which holds capacity elements: left_blocks blocks of p x p, row-major, a smaller
/// last one padded with zeros.
///
/// In this and the other copies: needed, which may be NULL, gets the number of elements, also on ARMOR_BUFFER_TOO_SMALL,
/// when nothing else is written; buffer NULL with capacity 0 asks for it. Any thread may call them, several at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_factorization_copy_left(
    factorization: *const FactorizationHandle,
    buffer: *mut f32,
    capacity: usize,
    needed: *mut usize,
) -> u32 {
    let out = (buffer, capacity, needed);
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe {
        copy(factorization, out, |sizes| sizes.left, |f| Ok(f.left().to_padded().into_raw_vec_and_offset().0))
    })
}

/// Copies the right wrapper B, as armor_factorization_copy_left does A: right_blocks blocks of q x q.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_factorization_copy_right(
    factorization: *const FactorizationHandle,
    buffer: *mut f32,
    capacity: usize,
    needed: *mut usize,
) -> u32 {
    let out = (buffer, capacity, needed);
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe {
        copy(factorization, out, |sizes| sizes.right, |f| Ok(f.right().to_padded().into_raw_vec_and_offset().0))
    })
}

/// Copies the core's kept values: m x kN/M, row by row in ascending column order.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_factorization_copy_core_values(
    factorization: *const FactorizationHandle,
    buffer: *mut f32,
    capacity: usize,
    needed: *mut usize,
) -> u32 {
    let out = (buffer, capacity, needed);
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe {
        copy(factorization, out, |sizes| sizes.core_values, |f| Ok(f.core().compressed().into_raw_vec_and_offset().0))
    })
}

/// Copies which columns the core keeps: m rows of k / 8 bytes, rounded up; column j is bit j % 8 of byte j / 8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_factorization_copy_core_bitmask(
    factorization: *const FactorizationHandle,
    buffer: *mut u8,
    capacity: usize,
    needed: *mut usize,
) -> u32 {
    let out = (buffer, capacity, needed);
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe {
        copy(factorization, out, |sizes| sizes.core_bitmask, |f| Ok(f.core().bitmask().into_raw_vec_and_offset().0))
    })
}

/// Copies the core S as a dense matrix, m x k, row-major, zeros included.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_factorization_copy_core_dense(
    factorization: *const FactorizationHandle,
    buffer: *mut f32,
    capacity: usize,
    needed: *mut usize,
) -> u32 {
    let out = (buffer, capacity, needed);
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe {
        copy(factorization, out, |sizes| sizes.dense, |f| Ok(f.core().to_dense().into_raw_vec_and_offset().0))
    })
}

/// Copies the relative proxy loss as the run saw it: of the initial mask, then after every iteration.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_factorization_copy_history(
    factorization: *const FactorizationHandle,
    buffer: *mut f64,
    capacity: usize,
    needed: *mut usize,
) -> u32 {
    let out = (buffer, capacity, needed);
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { copy(factorization, out, |sizes| sizes.history, |f| Ok(f.history().to_vec())) })
}

/// Computes what replaces the weight, A * S * B, m x k, row-major; in f64, rounded to the nearest f32.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_factorization_reconstruct(
    factorization: *const FactorizationHandle,
    buffer: *mut f32,
    capacity: usize,
    needed: *mut usize,
) -> u32 {
    let out = (buffer, capacity, needed);
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe {
        copy(
            factorization,
            out,
            |sizes| sizes.dense,
            |f| {
                pool::start()?;
                Ok(f.reconstruct().into_raw_vec_and_offset().0)
            },
        )
    })
}

/// Computes y = A * (S * (B * x)) for one input x of x_len = k elements, in f64; writes m elements to y. NaN and
/// infinities in x spread as in any product. x and y may not overlap. A plain reference, not a fast kernel.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_factorization_apply(
    factorization: *const FactorizationHandle,
    x: *const f32,
    x_len: usize,
    y: *mut f32,
    capacity: usize,
    needed: *mut usize,
) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let ((factorization, memory), input) =
            unsafe { (handle::borrow("factorization", factorization)?, input("x", x, x_len)?) };
        let y = Buffer::new("y", y, capacity, needed, &[memory, Span::new("x", x, x_len)?])?;
        let rows = factorization.core().rows();
        // SAFETY: the caller keeps the module's contract.
        unsafe { y.fill(rows, || Ok(factorization.apply(ArrayView1::from(input))?.to_vec())) }
    })
}
