//! The handle of an accumulator, which computes a Hessian from activations.

use std::ffi::c_char;
use std::sync::Mutex;

use super::buffer::Buffer;
use super::failure::Failure;
use super::guard::guard;
use super::locked::{lock, lock_both};
use super::opaque::{self, Opaque};
use super::pointer::{Out, input, overflow};
use super::serialized::{deserialize, serialize};
use super::status::{ARMOR_INVALID_SHAPE, ARMOR_UNKNOWN_VALUE};
use super::view::{ARMOR_HESSIAN_DIAGONAL, ARMOR_HESSIAN_FULL, MatrixView};
use crate::input::accumulator::HessianAccumulator;
use crate::input::hessian::{Hessian, HessianKind};

/// An accumulator of the Hessian H = (1/N) * sum of x * x^T over the activations x of N tokens. The result can be the data
/// of an armor_hessian. armor_accumulator_create or armor_accumulator_deserialize creates an accumulator, and
/// armor_accumulator_free frees it. Any thread may use it at any time, but only one call at a time works with it, and the
/// other calls wait. To work in parallel, create one accumulator per thread and merge them.
#[derive(Debug)]
pub struct AccumulatorHandle {
    _opaque: (),
}

impl Opaque for AccumulatorHandle {
    type Inner = Mutex<HessianAccumulator>;
    const TAG: u64 = u64::from_le_bytes(*b"armorACC");
    const NAME: &'static str = "an accumulator";
}

/// Creates an accumulator for a layer with this number of inputs (k), without tokens, and writes its handle to out. kind is
/// ARMOR_HESSIAN_DIAGONAL, which needs memory for k doubles, or ARMOR_HESSIAN_FULL, which needs at most k x k doubles.
///
/// The call fails with ARMOR_INVALID_SHAPE for 0 inputs, with ARMOR_SIZE_OVERFLOW or with ARMOR_UNKNOWN_VALUE.
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
                HessianAccumulator::new(inputs, HessianKind::Diagonal)
            }
            ARMOR_HESSIAN_FULL => {
                inputs.checked_mul(inputs).and_then(bytes).ok_or_else(too_many)?;
                HessianAccumulator::new(inputs, HessianKind::Full)
            }
            other => {
                let message = format!("kind: {other} is not a kind of accumulator, expected 1 or 2");
                return Err(Failure::new(ARMOR_UNKNOWN_VALUE, message));
            }
        };
        // SAFETY: the caller keeps the module's contract.
        unsafe { out.write(opaque::create(Mutex::new(accumulator))) };
        Ok(())
    })
}

/// Frees an accumulator; NULL is allowed. No other call may use the accumulator at this time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_accumulator_free(accumulator: *mut AccumulatorHandle) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { opaque::free("accumulator", accumulator) })
}

/// Adds the activations of some tokens: one row of k columns per token. The library reads them in place, and only during
/// the call. Calls with some hundred rows are the fastest. The call uses the thread pool of the process.
///
/// The call fails with ARMOR_NULL_POINTER, ARMOR_MISALIGNED, ARMOR_SIZE_OVERFLOW, ARMOR_UNKNOWN_DTYPE, ARMOR_INVALID_SHAPE
/// (no rows, a row stride below the number of columns, or a number of columns that is not k) or ARMOR_NOT_FINITE (an entry
/// that is NaN or not within -1e18 to 1e18; the message contains its row and column). It adds nothing if it fails.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_accumulator_add(
    accumulator: *mut AccumulatorHandle,
    activations: *const MatrixView,
) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let ((accumulator, _), activations) =
            unsafe { (opaque::borrow("accumulator", accumulator)?, &input("activations", activations, 1)?[0]) };
        // SAFETY: the caller keeps the module's contract.
        unsafe { activations.add_to(&mut *lock("accumulator", accumulator)?) }
    })
}

/// Adds the tokens of another accumulator, which does not change.
///
/// The call fails with ARMOR_INVALID_SHAPE if the accumulators differ in their kind or their number of inputs, and with
/// ARMOR_OVERLAP if both arguments are the same accumulator.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_accumulator_merge(
    accumulator: *mut AccumulatorHandle,
    other: *const AccumulatorHandle,
) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let ((into, _), (from, _)) =
            unsafe { (opaque::borrow("accumulator", accumulator)?, opaque::borrow("other", other)?) };
        let (mut into, from) = lock_both(into, from)?;
        Ok(into.merge(&from)?)
    })
}

/// Writes the number of tokens that were added so far to out.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_accumulator_tokens(accumulator: *const AccumulatorHandle, out: *mut u64) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let (accumulator, memory) = unsafe { opaque::borrow("accumulator", accumulator)? };
        let out = Out::new("out", out)?.apart_from(&[memory])?;
        let tokens = lock("accumulator", accumulator)?.tokens();
        // SAFETY: the caller keeps the module's contract.
        unsafe { out.write(tokens) };
        Ok(())
    })
}

/// Copies the Hessian, the mean over all tokens so far, to buffer, which has space for capacity elements: k elements for
/// the diagonal; k x k elements, row-major and symmetric, for the full Hessian. You may add more tokens afterwards.
///
/// needed may be NULL; otherwise the number of elements is written there, also on ARMOR_BUFFER_TOO_SMALL, when nothing else
/// is written. To ask for the number only, pass NULL and 0 for buffer and capacity. The call fails with
/// ARMOR_INVALID_SHAPE if no tokens were added, and with ARMOR_NOT_FINITE if sums that were read from bytes are outside the
/// range of float.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_accumulator_copy(
    accumulator: *const AccumulatorHandle,
    buffer: *mut f32,
    capacity: usize,
    needed: *mut usize,
) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let (accumulator, memory) = unsafe { opaque::borrow("accumulator", accumulator)? };
        let buffer = Buffer::new("buffer", buffer, capacity, needed, &[memory])?;
        let accumulator = lock("accumulator", accumulator)?;
        let inputs = accumulator.inputs();
        let len = if accumulator.kind() == HessianKind::Full { inputs * inputs } else { inputs };
        // SAFETY: the caller keeps the module's contract.
        unsafe { buffer.fill(len, || Ok(numbers(&accumulator.hessian()?))) }
    })
}

/// Copies the full matrix row by row, or the diagonal if only that is known.
pub(super) fn numbers(hessian: &Hessian) -> Vec<f32> {
    let rows = (0..hessian.len()).map_while(|row| hessian.row(row));
    if hessian.kind() == HessianKind::Full {
        rows.flatten().map(|value| (f64::from(*value) / hessian.scale()) as f32).collect()
    } else {
        hessian.diagonal().iter().map(|&value| value as f32).collect()
    }
}

/// Writes an accumulator as the bytes of a safetensors file to buffer, which has space for capacity bytes. name is the name
/// of the weight without ".weight", in UTF-8. docs/c-api.md lists the tensors. Equal accumulators give equal bytes.
///
/// needed may be NULL; otherwise the number of bytes is written there, also on ARMOR_BUFFER_TOO_SMALL, when nothing else
/// is written. To ask for the number only, pass NULL and 0 for buffer and capacity. The call fails with
/// ARMOR_INVALID_TEXT if name is not UTF-8.
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
        let (accumulator, memory) = unsafe { opaque::borrow("accumulator", accumulator)? };
        let write = |name: &str| Ok(lock("accumulator", accumulator)?.to_safetensors(name)?);
        // SAFETY: the caller keeps the module's contract.
        unsafe { serialize(memory, name, (buffer, capacity, needed), write) }
    })
}

/// Reads the accumulator of the weight name from the len bytes of a safetensors file, and writes its handle to out. Free
/// the handle with armor_accumulator_free. The bytes need no alignment, and the library reads them only during the call.
///
/// The call fails with ARMOR_INVALID_BYTES, and a message that contains the key, if the file is cut off, if it has another
/// armor.format than the library reads, if its header does not match its data, if the tensor is missing, or if no activations can have these sums.
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
        unsafe { deserialize((bytes, len), name, out, parse) }
    })
}
