//! Copies of a factorisation's parts to the caller's memory, and its product with a vector.

use ndarray::ArrayView1;

use super::handle::FactorizationHandle;
use super::sizes::FactorizationSizes;
use crate::ffi::buffer::Buffer;
use crate::ffi::failure::Failure;
use crate::ffi::guard::guard;
use crate::ffi::opaque;
use crate::ffi::pointer::{Span, input};
use crate::kernels::pool;
use crate::result::factorization::Factorization;

/// Copies one array of a factorisation to the caller's buffer, given as its pointer, its capacity and the place for its
/// length.
///
/// # Safety
/// The contract of [`crate::ffi`].
unsafe fn copy<T: Copy>(
    factorization: *const FactorizationHandle,
    (buffer, capacity, needed): (*mut T, usize, *mut usize),
    len: impl FnOnce(&FactorizationSizes) -> usize,
    make: impl FnOnce(&Factorization) -> Result<Vec<T>, Failure>,
) -> Result<(), Failure> {
    // SAFETY: the caller keeps the contract.
    let (factorization, memory) = unsafe { opaque::borrow("factorization", factorization)? };
    let buffer = Buffer::new("buffer", buffer, capacity, needed, &[memory])?;
    // SAFETY: the caller keeps the contract.
    unsafe { buffer.fill(len(&FactorizationSizes::of(factorization)), || make(factorization)) }
}

/// Copies the left wrapper A to buffer, which has space for capacity elements: left_blocks blocks of p x p values,
/// row-major. A smaller last block is padded with zeros.
///
/// For this copy and the others: needed may be NULL; otherwise the number of elements is written there, also on
/// ARMOR_BUFFER_TOO_SMALL, when nothing else is written. To ask for the number only, pass NULL and 0 for buffer and
/// capacity. Any thread may call the copies, and several threads may call them at the same time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_factorization_copy_left(
    factorization: *const FactorizationHandle,
    buffer: *mut f32,
    capacity: usize,
    needed: *mut usize,
) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe {
        copy(
            factorization,
            (buffer, capacity, needed),
            |sizes| sizes.left,
            |f| Ok(f.left().to_padded().into_raw_vec_and_offset().0),
        )
    })
}

/// Copies the right wrapper B in the layout of armor_factorization_copy_left: right_blocks blocks of q x q values.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_factorization_copy_right(
    factorization: *const FactorizationHandle,
    buffer: *mut f32,
    capacity: usize,
    needed: *mut usize,
) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe {
        copy(
            factorization,
            (buffer, capacity, needed),
            |sizes| sizes.right,
            |f| Ok(f.right().to_padded().into_raw_vec_and_offset().0),
        )
    })
}

/// Copies the kept values of the core: m rows of k * N / M values, each row in ascending order of the columns.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_factorization_copy_core_values(
    factorization: *const FactorizationHandle,
    buffer: *mut f32,
    capacity: usize,
    needed: *mut usize,
) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe {
        copy(
            factorization,
            (buffer, capacity, needed),
            |sizes| sizes.core_values,
            |f| Ok(f.core().to_compressed().into_raw_vec_and_offset().0),
        )
    })
}

/// Copies the bitmask of the kept entries of the core: m rows of k / 8 bytes, rounded up. Column j is bit j % 8 of byte
/// j / 8; the bit is 1 if the entry is kept.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_factorization_copy_core_bitmask(
    factorization: *const FactorizationHandle,
    buffer: *mut u8,
    capacity: usize,
    needed: *mut usize,
) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe {
        copy(
            factorization,
            (buffer, capacity, needed),
            |sizes| sizes.core_bitmask,
            |f| Ok(f.core().to_bitmask().into_raw_vec_and_offset().0),
        )
    })
}

/// Copies the core S as a dense matrix: m x k values, row-major, including the zeros.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_factorization_copy_core_dense(
    factorization: *const FactorizationHandle,
    buffer: *mut f32,
    capacity: usize,
    needed: *mut usize,
) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe {
        copy(
            factorization,
            (buffer, capacity, needed),
            |sizes| sizes.dense,
            |f| Ok(f.core().to_dense().into_raw_vec_and_offset().0),
        )
    })
}

/// Copies the history of the relative proxy loss during the run: first with the initial mask, then after every iteration.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_factorization_copy_history(
    factorization: *const FactorizationHandle,
    buffer: *mut f64,
    capacity: usize,
    needed: *mut usize,
) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe {
        copy(factorization, (buffer, capacity, needed), |sizes| sizes.history, |f| Ok(f.history().to_vec()))
    })
}

/// Computes the product A * S * B, which replaces the weight: m x k values, row-major. The computation is in double
/// precision, and the result is rounded to the nearest float.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_factorization_reconstruct(
    factorization: *const FactorizationHandle,
    buffer: *mut f32,
    capacity: usize,
    needed: *mut usize,
) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe {
        copy(
            factorization,
            (buffer, capacity, needed),
            |sizes| sizes.dense,
            |f| {
                pool::start()?;
                Ok(f.reconstruct().into_raw_vec_and_offset().0)
            },
        )
    })
}

/// Computes y = A * (S * (B * x)) in double precision for one input x with x_len = k elements, and writes m elements to y,
/// which has space for capacity elements. x and y may not overlap. If x contains NaN or infinities, y contains what the
/// products give. This is a simple reference; armor_packed_apply is the fast product.
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
            unsafe { (opaque::borrow("factorization", factorization)?, input("x", x, x_len)?) };
        let y = Buffer::new("y", y, capacity, needed, &[memory, Span::new("x", x, x_len)?])?;
        let rows = factorization.core().rows();
        // SAFETY: the caller keeps the module's contract.
        unsafe { y.fill(rows, || Ok(factorization.apply(ArrayView1::from(input))?.to_vec())) }
    })
}
