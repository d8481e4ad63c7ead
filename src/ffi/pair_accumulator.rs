//! The handle of an accumulator of pairs, which corrects a weight for the inputs of the compressed model.

use std::ffi::c_char;
use std::mem::offset_of;
use std::sync::Mutex;

use ndarray::{Array2, CowArray, Ix2};

use super::accumulator::numbers;
use super::buffer::Buffer;
use super::failure::Failure;
use super::guard::guard;
use super::locked::{lock, lock_both};
use super::opaque::{self, Opaque};
use super::pointer::{Growing, Out, Span, growing_size, input, overflow, write_growing};
use super::serialized::{deserialize, serialize};
use super::status::ARMOR_INVALID_SHAPE;
use super::view::MatrixView;
use crate::error::Error;
use crate::input::pair_accumulator::PairAccumulator;
use crate::input::weight::{Weight, with_view};
use crate::problem::correction::{Correction, CorrectionOptions};

/// An accumulator of pairs (x, y) over N tokens: x is the input of a layer in the dense model, and y is the input of the
/// same layer, for the same token, if the layers before it are already compressed. A compressed layer sees y, but its
/// output should be W * x. From the pairs the library computes the Hessian of y and a weight that makes up for the
/// difference. armor_pair_accumulator_create or armor_pair_accumulator_deserialize creates an accumulator, and
/// armor_pair_accumulator_free frees it. Any thread may use it at any time, but only one call at a time works with it, and
/// the other calls wait. To work in parallel, create one accumulator per thread and merge them.
#[derive(Debug)]
pub struct PairAccumulatorHandle {
    _opaque: (),
}

impl Opaque for PairAccumulatorHandle {
    type Inner = Mutex<PairAccumulator>;
    const TAG: u64 = u64::from_le_bytes(*b"armorPAI");
    const NAME: &'static str = "an accumulator of pairs";
}

/// What armor_pair_accumulator_correct has done, and what it can reach.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CorrectionReport {
    /// Set this to sizeof(armor_correction) before the call. The call changes it to the number of bytes that it has
    /// written.
    pub struct_size: usize,
    /// The part of the correction that was made.
    pub strength: f64,
    /// The ridge that was used, relative to the mean of the Hessian's diagonal. It is larger than the given one if the
    /// Hessian with that ridge could not be factorised safely.
    pub ridge: f64,
    /// Mean of |W * x|^2, the energy of the dense layer's outputs.
    pub energy: f64,
    /// Mean of |W * x - W * y|^2 divided by energy: the error of the layer without a correction.
    pub drift: f64,
    /// The lowest mean of |W * x - V * y|^2 that any weight V has, divided by energy.
    pub irreducible: f64,
}

// SAFETY: the struct is repr(C) and Copy, contains numbers only, and starts with struct_size.
unsafe impl Growing for CorrectionReport {
    const FIRST_SIZE: usize = offset_of!(Self, irreducible) + size_of::<f64>();

    fn struct_size_mut(&mut self) -> &mut usize {
        &mut self.struct_size
    }
}

impl CorrectionReport {
    /// Reads the report of a correction.
    fn of(correction: &Correction) -> Self {
        CorrectionReport {
            struct_size: size_of::<Self>(),
            strength: correction.strength,
            ridge: correction.ridge,
            energy: correction.energy,
            drift: correction.drift,
            irreducible: correction.irreducible,
        }
    }
}

/// Creates an accumulator of pairs for a layer with this number of inputs (k), without tokens, and writes its handle to
/// out. It needs memory for about 2 x k x k doubles.
///
/// The call fails with ARMOR_INVALID_SHAPE for 0 inputs, or with ARMOR_SIZE_OVERFLOW.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_pair_accumulator_create(inputs: usize, out: *mut *mut PairAccumulatorHandle) -> u32 {
    guard(|| {
        let out = Out::new("out", out)?;
        if inputs == 0 {
            return Err(Failure::new(ARMOR_INVALID_SHAPE, "inputs: is 0, expected 1 or more"));
        }
        let bytes = inputs.checked_mul(2).and_then(|size| size.checked_mul(size)?.checked_mul(size_of::<f64>()));
        if bytes.is_none_or(|bytes| bytes > isize::MAX as usize) {
            return Err(overflow("inputs", format!("sums over {inputs} pairs of inputs")));
        }
        // SAFETY: the caller keeps the module's contract.
        unsafe { out.write(opaque::create(Mutex::new(PairAccumulator::new(inputs)))) };
        Ok(())
    })
}

/// Frees an accumulator of pairs; NULL is allowed. No other call may use the accumulator at this time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_pair_accumulator_free(accumulator: *mut PairAccumulatorHandle) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { opaque::free("accumulator", accumulator) })
}

/// Adds the inputs of some tokens in the dense model and in the compressed model: two matrices with one row of k columns per
/// token, whose rows belong together. Their dtypes may differ. The library reads them in place, and only during the call.
/// Calls with some hundred rows are the fastest. The call uses the thread pool of the process.
///
/// The call fails with ARMOR_NULL_POINTER, ARMOR_MISALIGNED, ARMOR_SIZE_OVERFLOW, ARMOR_UNKNOWN_DTYPE, ARMOR_INVALID_SHAPE
/// (no rows, not the same number of rows, a row stride below the number of columns, or a number of columns that is not k)
/// or ARMOR_NOT_FINITE (an entry that is NaN or not within -5e17 to 5e17; the message contains its row and column). It adds
/// nothing if it fails.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_pair_accumulator_add(
    accumulator: *mut PairAccumulatorHandle,
    dense: *const MatrixView,
    compressed: *const MatrixView,
) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let (accumulator, _) = unsafe { opaque::borrow("accumulator", accumulator)? };
        // SAFETY: the caller keeps the module's contract.
        let (dense, compressed) = unsafe { (&input("dense", dense, 1)?[0], &input("compressed", compressed, 1)?[0]) };
        // SAFETY: the caller keeps the module's contract.
        let ((dense, _), (compressed, _)) = unsafe { (dense.dense()?, compressed.compressed()?) };
        let mut accumulator = lock("accumulator", accumulator)?;
        with_view!(&dense, dense => with_view!(&compressed, compressed => accumulator.add(dense, compressed)))?;
        Ok(())
    })
}

/// Adds the tokens of another accumulator of pairs, which does not change.
///
/// The call fails with ARMOR_INVALID_SHAPE if the accumulators differ in their number of inputs, and with ARMOR_OVERLAP if
/// both arguments are the same accumulator.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_pair_accumulator_merge(
    accumulator: *mut PairAccumulatorHandle,
    other: *const PairAccumulatorHandle,
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
pub unsafe extern "C" fn armor_pair_accumulator_tokens(
    accumulator: *const PairAccumulatorHandle,
    out: *mut u64,
) -> u32 {
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

/// Copies the Hessian of the inputs in the compressed model, the mean of y * y^T over all tokens so far, to buffer, which
/// has space for capacity elements: k x k elements, row-major and symmetric. It can be the data of an armor_hessian with
/// ARMOR_HESSIAN_FULL, under which the corrected weight is factorised.
///
/// needed may be NULL; otherwise the number of elements is written there, also on ARMOR_BUFFER_TOO_SMALL, when nothing else
/// is written. To ask for the number only, pass NULL and 0 for buffer and capacity. The call fails with
/// ARMOR_INVALID_SHAPE if no tokens were added, and with ARMOR_NOT_FINITE or ARMOR_NEGATIVE if no inputs can have sums that
/// were read from bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_pair_accumulator_copy_hessian(
    accumulator: *const PairAccumulatorHandle,
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
        // SAFETY: the caller keeps the module's contract.
        unsafe { buffer.fill(inputs * inputs, || Ok(numbers(accumulator.moments()?.hessian()))) }
    })
}

/// Computes the weight W + strength * W * D * (H + ridge * h * I)^-1, which makes up for the difference between x and y, and
/// writes it to buffer, which has space for capacity elements: m x k elements, row-major. weight is the W of the dense
/// layer, H is the mean of y * y^T, D is the mean of (x - y) * y^T, and h is the mean of the diagonal of H. With strength 1
/// and a small ridge, the result is the weight with the lowest mean of |W * x - V * y|^2. Factorise it in the place of W,
/// under the Hessian of armor_pair_accumulator_copy_hessian.
///
/// strength is 0 to 1; a lower one damps the correction, which is fitted to the tokens of the accumulator. ridge is 0 to
/// 1e6; 0.01 is a good start. If H with this ridge cannot be factorised safely, the ridge grows tenfold until it can, and
/// out->ridge contains the one that was used. The columns of inputs that are zero on every token in the compressed model
/// do not change. The result has the same bits for any number of threads.
///
/// out may be NULL; otherwise set out->struct_size before the call, which writes a report there. needed may be NULL;
/// otherwise the number of elements is written there, also on ARMOR_BUFFER_TOO_SMALL, when nothing else is written. To ask
/// for the number only, pass NULL and 0 for buffer and capacity. The call uses the thread pool of the process. It fails like
/// armor_factorize for a wrong weight; with ARMOR_INVALID_SHAPE if the weight does not have k columns or no tokens were
/// added; with ARMOR_OPTION_OUT_OF_RANGE for a wrong strength or ridge; with ARMOR_STRUCT_SIZE; with ARMOR_UNREPRESENTABLE
/// if an entry of the result is outside the range of float; and with ARMOR_NOT_FINITE or ARMOR_NEGATIVE if no inputs can
/// have sums that were read from bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_pair_accumulator_correct(
    accumulator: *const PairAccumulatorHandle,
    weight: *const MatrixView,
    strength: f64,
    ridge: f64,
    buffer: *mut f32,
    capacity: usize,
    needed: *mut usize,
    out: *mut CorrectionReport,
) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let ((accumulator, memory), view) =
            unsafe { (opaque::borrow("accumulator", accumulator)?, &input("weight", weight, 1)?[0]) };
        // SAFETY: the caller keeps the module's contract.
        let (values, data) = unsafe { view.weight()? };
        let mut used = vec![memory, Span::new("weight", weight, 1)?, data];
        let out = Out::optional("out", out)?;
        if let Some(out) = &out {
            out.span.is_apart_from(&used)?;
            // SAFETY: the caller keeps the module's contract.
            unsafe { growing_size(out)? };
            used.push(out.span);
        }
        let buffer = Buffer::new("buffer", buffer, capacity, needed, &used)?;
        let accumulator = lock("accumulator", accumulator)?;
        let ((rows, cols), len) = (values.dim(), accumulator.inputs());
        if cols != len {
            return Err(Error::HessianLength { len, cols }.into());
        }
        let mut report = None;
        let make = || {
            let moments = accumulator.moments()?;
            drop(accumulator);
            let correction = moments.correct(values, &CorrectionOptions { strength, ridge })?;
            report = Some(CorrectionReport::of(&correction));
            Ok(correction.weight.into_raw_vec_and_offset().0)
        };
        // SAFETY: the caller keeps the module's contract.
        unsafe { buffer.fill(rows * cols, make)? };
        match out.zip(report) {
            // SAFETY: the caller keeps the module's contract.
            Some((out, report)) => unsafe { write_growing(out, report) },
            None => Ok(()),
        }
    })
}

/// Writes the mean of |W * x - V * y|^2 divided by the mean of |W * x|^2 to out: how far the outputs of a compressed layer
/// are from those of the dense layer. weight is the W of the dense layer, and compressed is the V that replaces it, m x k
/// each; V is rounded to float. The computation is in double precision. The accumulator need not have the tokens that V was
/// fitted to: other tokens show how good V is for data that it has not seen.
///
/// The result is infinite if W * x is zero for all tokens but V * y is not. The call uses the thread pool of the process. It
/// fails like armor_factorize for a wrong matrix; and with ARMOR_INVALID_SHAPE if the matrices differ in their shape or do
/// not have k columns, or no tokens were added.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_pair_accumulator_output_error(
    accumulator: *const PairAccumulatorHandle,
    weight: *const MatrixView,
    compressed: *const MatrixView,
    out: *mut f64,
) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let (accumulator, memory) = unsafe { opaque::borrow("accumulator", accumulator)? };
        let read = [memory, Span::new("weight", weight, 1)?, Span::new("compressed", compressed, 1)?];
        let out = Out::new("out", out)?.apart_from(&read)?;
        // SAFETY: the caller keeps the module's contract.
        let (weight, compressed) =
            unsafe { (&input("weight", weight, 1)?[0], &input("compressed", compressed, 1)?[0]) };
        // SAFETY: the caller keeps the module's contract.
        let ((weight, weight_data), (compressed, compressed_data)) =
            unsafe { (weight.weight()?, compressed.compressed()?) };
        out.span.is_apart_from(&[weight_data, compressed_data])?;
        let moments = lock("accumulator", accumulator)?.moments()?;
        let error = moments.output_error(weight, &single(&compressed).view())?;
        // SAFETY: the caller keeps the module's contract.
        unsafe { out.write(error) };
        Ok(())
    })
}

/// Views a matrix of float, or rounds one of another type.
fn single<'a>(matrix: &Weight<'a>) -> CowArray<'a, f32, Ix2> {
    if let Weight::F32(view) = matrix {
        return (*view).into();
    }
    let mut rounded = Array2::zeros(matrix.dim());
    let cols = rounded.ncols();
    for (row, mut out) in rounded.rows_mut().into_iter().enumerate() {
        matrix.copy_row(row, 0..cols, out.as_slice_mut().expect("a new array is contiguous"));
    }
    rounded.into()
}

/// Writes an accumulator of pairs as the bytes of a safetensors file to buffer, which has space for capacity bytes. name is
/// the name of the weight without ".weight", in UTF-8. docs/c-api.md lists the tensors. Equal accumulators give equal
/// bytes.
///
/// needed may be NULL; otherwise the number of bytes is written there, also on ARMOR_BUFFER_TOO_SMALL, when nothing else
/// is written. To ask for the number only, pass NULL and 0 for buffer and capacity. The call fails with
/// ARMOR_INVALID_TEXT if name is not UTF-8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_pair_accumulator_serialize(
    accumulator: *const PairAccumulatorHandle,
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

/// Reads the accumulator of pairs of the weight name from the len bytes of a safetensors file, and writes its handle to out.
/// Free the handle with armor_pair_accumulator_free. The bytes need no alignment, and the library reads them only during
/// the call.
///
/// The call fails with ARMOR_INVALID_BYTES, and a message that contains the key, if the file is cut off, if it has another
/// armor.format than the library reads, if its header does not match its data, if the tensor is missing, or if no
/// activations can have these sums.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_pair_accumulator_deserialize(
    bytes: *const u8,
    len: usize,
    name: *const c_char,
    out: *mut *mut PairAccumulatorHandle,
) -> u32 {
    guard(|| {
        let parse = |file: &[u8], name: &str| PairAccumulator::from_safetensors(file, name).map(Mutex::new);
        // SAFETY: the caller keeps the module's contract.
        unsafe { deserialize((bytes, len), name, out, parse) }
    })
}
