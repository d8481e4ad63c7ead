//! The accumulator's handle: activations in, a Hessian out.

use std::ffi::c_char;
use std::ptr;
use std::sync::{Mutex, MutexGuard};

use super::copy::Buffer;
use super::guard::guard;
use super::handle::{self, Opaque};
use super::pointer::{Out, Span, input, overflow, text};
use super::serialize::read;
use super::status::{ARMOR_INVALID_SHAPE, ARMOR_OVERLAP, ARMOR_PANIC, ARMOR_UNKNOWN_VALUE, Failure};
use super::view::{ARMOR_HESSIAN_DIAGONAL, ARMOR_HESSIAN_FULL, MatrixView};
use crate::input::accumulator::HessianAccumulator;
use crate::input::hessian::Hessian;

/// Adds up H = (1/N) sum of x * x^T over the activations x of N tokens, for armor_hessian. Made by
/// armor_accumulator_create or armor_accumulator_deserialize, freed by armor_accumulator_free. Any thread may use it at
/// any time, but one call works on it at a time and the others wait: to work in parallel, give every thread its own and
/// merge them.
#[derive(Debug)]
pub struct AccumulatorHandle {
    _opaque: (),
}

impl Opaque for AccumulatorHandle {
    type Inner = Mutex<HessianAccumulator>;
    const TAG: u64 = u64::from_le_bytes(*b"armorACC");
    const NAME: &'static str = "an accumulator";
}

/// Waits for the handle's turn. One whose sums a panic may have left half changed is of no more use.
fn lock<'a>(
    argument: &str,
    accumulator: &'a Mutex<HessianAccumulator>,
) -> Result<MutexGuard<'a, HessianAccumulator>, Failure> {
    accumulator.lock().map_err(|_| {
        Failure::new(ARMOR_PANIC, format!("{argument}: an earlier internal error may have left it half changed"))
    })
}

/// Makes an accumulator over so many inputs, k, with no tokens, and writes its handle to out. kind is
/// ARMOR_HESSIAN_DIAGONAL, for k doubles of memory, or ARMOR_HESSIAN_FULL, for at most k x k.
///
/// Fails with ARMOR_INVALID_SHAPE for no inputs, ARMOR_SIZE_OVERFLOW, ARMOR_UNKNOWN_VALUE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_accumulator_create(inputs: usize, kind: u32, out: *mut *mut AccumulatorHandle) -> u32 {
    guard(|| {
        let out = Out::new("out", out)?;
        if inputs == 0 {
            return Err(Failure::new(ARMOR_INVALID_SHAPE, "inputs: is 0, expected 1 or more"));
        }
        let bytes =
            |numbers: usize| numbers.checked_mul(size_of::<f64>()).filter(|&bytes| bytes <= isize::MAX as usize);
        let too_many = || overflow("inputs", format!("sums over {inputs} inputs"));
        let accumulator = match kind {
            ARMOR_HESSIAN_DIAGONAL => {
                bytes(inputs).ok_or_else(too_many)?;
                HessianAccumulator::diagonal(inputs)
            }
            ARMOR_HESSIAN_FULL => {
                inputs.checked_mul(inputs).and_then(bytes).ok_or_else(too_many)?;
                HessianAccumulator::full(inputs)
            }
            other => {
                let message = format!("kind: {other} is not what an accumulator can be, expected 1 or 2");
                return Err(Failure::new(ARMOR_UNKNOWN_VALUE, message));
            }
        };
        // SAFETY: the caller keeps the module's contract.
        unsafe { out.write(handle::create(Mutex::new(accumulator))) };
        Ok(())
    })
}

/// Frees an accumulator; NULL is fine. No other call may be using it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_accumulator_free(accumulator: *mut AccumulatorHandle) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { handle::free("accumulator", accumulator) })
}

/// Adds the activations of some tokens, a row each of k columns, read in place and not kept. Some hundred rows a call
/// run fastest; it works on the process's pool of threads.
///
/// Fails with ARMOR_NULL_POINTER, ARMOR_MISALIGNED, ARMOR_SIZE_OVERFLOW, ARMOR_UNKNOWN_DTYPE, ARMOR_INVALID_SHAPE (no
/// rows, a row stride below the columns, other columns than k) or ARMOR_NOT_FINITE (an entry that is NaN, infinite or
/// beyond 1e18 either way, with its row and column); nothing is added then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_accumulator_add(
    accumulator: *mut AccumulatorHandle,
    activations: *const MatrixView,
) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let ((accumulator, _), activations) =
            unsafe { (handle::borrow("accumulator", accumulator)?, &input("activations", activations, 1)?[0]) };
        // SAFETY: the caller keeps the module's contract.
        unsafe { activations.add_to(&mut *lock("accumulator", accumulator)?) }
    })
}

/// Adds the tokens of another accumulator, which is left as it is.
///
/// Fails with ARMOR_INVALID_SHAPE where the two are not of the same kind and inputs, and with ARMOR_OVERLAP where they
/// are one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_accumulator_merge(
    accumulator: *mut AccumulatorHandle,
    other: *const AccumulatorHandle,
) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let ((into, _), (from, _)) =
            unsafe { (handle::borrow("accumulator", accumulator)?, handle::borrow("other", other)?) };
        if ptr::eq(into, from) {
            return Err(Failure::new(ARMOR_OVERLAP, "other: is the accumulator itself"));
        }
        // Always the lower address first, or two threads that merge each into the other would wait for ever.
        let (mut into, from) = if ptr::from_ref(into) < ptr::from_ref(from) {
            let into = lock("accumulator", into)?;
            (into, lock("other", from)?)
        } else {
            let from = lock("other", from)?;
            (lock("accumulator", into)?, from)
        };
        Ok(into.merge(&from)?)
    })
}

/// Writes the number of tokens added so far to out.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_accumulator_tokens(accumulator: *const AccumulatorHandle, out: *mut u64) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let (accumulator, memory) = unsafe { handle::borrow("accumulator", accumulator)? };
        let out = Out::new("out", out)?.apart_from(&[memory])?;
        let tokens = lock("accumulator", accumulator)?.tokens();
        // SAFETY: the caller keeps the module's contract.
        unsafe { out.write(tokens) };
        Ok(())
    })
}

/// Copies the mean over all tokens so far to buffer, which holds capacity elements: k for the diagonal, k x k, row-major
/// and symmetric, for the whole Hessian. More tokens may follow.
///
/// needed, which may be NULL, gets the number of elements, also on ARMOR_BUFFER_TOO_SMALL, when nothing else is written;
/// buffer NULL with capacity 0 asks for it. Fails with ARMOR_INVALID_SHAPE where no tokens were added, and with
/// ARMOR_NOT_FINITE where sums that were read from bytes leave float's range.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_accumulator_copy(
    accumulator: *const AccumulatorHandle,
    buffer: *mut f32,
    capacity: usize,
    needed: *mut usize,
) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let (accumulator, memory) = unsafe { handle::borrow("accumulator", accumulator)? };
        let buffer = Buffer::new("buffer", buffer, capacity, needed, &[memory])?;
        let accumulator = lock("accumulator", accumulator)?;
        let inputs = accumulator.inputs();
        let len = if accumulator.is_full() { inputs * inputs } else { inputs };
        // SAFETY: the caller keeps the module's contract.
        unsafe { buffer.fill(len, || Ok(numbers(&accumulator.hessian()?))) }
    })
}

/// The whole matrix, or its diagonal where that is all there is.
fn numbers(hessian: &Hessian) -> Vec<f32> {
    let rows = (0..hessian.len()).map_while(|row| hessian.row(row));
    if hessian.is_full() {
        rows.flatten().map(|value| (f64::from(*value) / hessian.scale()) as f32).collect()
    } else {
        hessian.diagonal_values().iter().map(|&value| value as f32).collect()
    }
}

/// Writes an accumulator as a safetensors file to buffer, which holds capacity bytes. name is that of the weight without
/// ".weight", UTF-8; docs/c-api.md lists the tensors. Equal accumulators give equal bytes.
///
/// needed, which may be NULL, gets the number of bytes, also on ARMOR_BUFFER_TOO_SMALL, when nothing else is written;
/// buffer NULL with capacity 0 asks for it. Fails with ARMOR_INVALID_TEXT for a name that is not UTF-8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_accumulator_serialize(
    accumulator: *const AccumulatorHandle,
    name: *const c_char,
    buffer: *mut u8,
    capacity: usize,
    needed: *mut usize,
) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let ((accumulator, memory), name) =
            unsafe { (handle::borrow("accumulator", accumulator)?, text("name", name)?) };
        let read = [memory, Span::new("name", name.as_ptr(), name.len() + 1)?];
        let buffer = Buffer::new("buffer", buffer, capacity, needed, &read)?;
        let bytes = lock("accumulator", accumulator)?.to_safetensors(name)?;
        // SAFETY: the caller keeps the module's contract.
        unsafe { buffer.fill(bytes.len(), || Ok(bytes)) }
    })
}

/// Reads the accumulator of name from len bytes of a safetensors file, and writes its handle to out. The bytes need no
/// alignment and are not kept.
///
/// Fails with ARMOR_INVALID_BYTES, and a message that names the key, for a file that is cut off, lies about its data,
/// lacks the tensor, or holds sums that no activations have.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_accumulator_deserialize(
    bytes: *const u8,
    len: usize,
    name: *const c_char,
    out: *mut *mut AccumulatorHandle,
) -> u32 {
    guard(|| {
        let parse = |file: &[u8], name: &str| HessianAccumulator::from_safetensors(file, name).map(Mutex::new);
        // SAFETY: the caller keeps the module's contract.
        unsafe { read(bytes, len, name, out, parse) }
    })
}
