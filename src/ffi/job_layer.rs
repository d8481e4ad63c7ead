//! Calls on one layer of a job that pass or return numbers: its shape, a calibration of the caller's, and the weight that
//! it has once it is compressed.

use std::ffi::c_void;

use super::buffer::Buffer;
use super::factorization::handle::FactorizationHandle;
use super::guard::guard;
use super::job::{JobHandle, check, observer};
use super::locked::lock;
use super::opaque;
use super::pair_accumulator::PairAccumulatorHandle;
use super::pointer::{Out, input};
use super::progress::ProgressFn;
use super::view::HessianView;
use crate::checkpoint::Calibration;
use crate::error::Error;

/// Writes the shape of a layer to rows, the output features (m), and to cols, the input features (k). This is the shape of
/// the matrix of outputs x inputs, also where the checkpoint stores it as inputs x outputs. The call fails with
/// ARMOR_NO_SUCH_LAYER as armor_job_layer_name does. Only a library with the feature `checkpoint` has this function; see
/// armor_job.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_job_layer_shape(
    job: *const JobHandle,
    index: usize,
    rows: *mut usize,
    cols: *mut usize,
) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let (job, memory) = unsafe { opaque::borrow("job", job)? };
        let rows = Out::new("rows", rows)?.apart_from(&[memory])?;
        let cols = Out::new("cols", cols)?.apart_from(&[memory, rows.span])?;
        check(job, index)?;
        let layer = &job.layers()[index];
        // SAFETY: the caller keeps the module's contract.
        unsafe {
            rows.write(layer.rows);
            cols.write(layer.cols);
        }
        Ok(())
    })
}

/// Does the same as armor_job_run_layer in a job without "hessians" in its settings: compresses a layer under the Hessian
/// of its k inputs, which the caller passes. tokens is the number of tokens that the Hessian is the mean of, for the
/// report. With the full objective, the Hessian must be ARMOR_HESSIAN_FULL. The result is measured as it is stored, in the
/// format and the dtype of the job. The call does nothing if the layer is finished.
///
/// Only a library with the feature `checkpoint` has this function; see armor_job. The call fails like armor_job_run_layer,
/// except that nothing is stored on ARMOR_UNREPRESENTABLE. It also fails with ARMOR_INVALID_SETTINGS if the job reads
/// Hessians from files, and like armor_factorize for a wrong Hessian.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_job_run_layer_on_hessian(
    job: *const JobHandle,
    index: usize,
    hessian: *const HessianView,
    tokens: u64,
    progress: ProgressFn,
    user: *mut c_void,
) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let ((job, _), hessian) = unsafe { (opaque::borrow("job", job)?, &input("hessian", hessian, 1)?[0]) };
        check(job, index)?;
        let layer = &job.layers()[index];
        // SAFETY: the caller keeps the module's contract.
        let (hessian, _) = unsafe { hessian.hessian(layer.cols, layer.options.objective)? };
        let calibration = Calibration::Hessian { hessian: &hessian, tokens };
        Ok(job.run_layer_on(index, calibration, observer(progress, user))?)
    })
}

/// Does the same as armor_job_run_layer_on_hessian with pairs of the layer's inputs in the dense model and in the compressed
/// one. The library computes the weight that makes up for their difference, as armor_pair_accumulator_correct does, with
/// the settings "correction" and "correction_ridge" of the job, and compresses it under the Hessian of the inputs in the
/// compressed model. The accumulator does not change. Other calls may use it while the layer runs.
///
/// Only a library with the feature `checkpoint` has this function; see armor_job. The call fails like
/// armor_job_run_layer_on_hessian, and with ARMOR_INVALID_SHAPE if the accumulator has no tokens or another number of inputs
/// than the layer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_job_run_layer_on_pairs(
    job: *const JobHandle,
    index: usize,
    accumulator: *const PairAccumulatorHandle,
    progress: ProgressFn,
    user: *mut c_void,
) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let ((job, _), (accumulator, _)) =
            unsafe { (opaque::borrow("job", job)?, opaque::borrow("accumulator", accumulator)?) };
        check(job, index)?;
        let moments = {
            let accumulator = lock("accumulator", accumulator)?;
            let (len, cols) = (accumulator.inputs(), job.layers()[index].cols);
            if len != cols {
                return Err(Error::HessianLength { len, cols }.into());
            }
            accumulator.moments()?
        };
        Ok(job.run_layer_on(index, Calibration::Pairs(&moments), observer(progress, user))?)
    })
}

/// Copies the weight that a finished layer has from now on to buffer, which has space for capacity elements: the product
/// A * S * B of the factors as they are stored, rounded to their dtype. It has m x k elements, row-major, outputs x inputs,
/// also where the checkpoint stores the weight as inputs x outputs. Any process may have finished the layer. After
/// armor_job_finish, the call reads the output, which it can in the formats factors and reconstructed.
///
/// needed may be NULL; otherwise the number of elements is written there, also on ARMOR_BUFFER_TOO_SMALL, when nothing else
/// is written. To ask for the number only, pass NULL and 0 for buffer and capacity. Only a library with the feature
/// `checkpoint` has this function; see armor_job. The call fails with ARMOR_JOB_UNFINISHED if the layer is not finished,
/// with ARMOR_NO_SUCH_LAYER, with ARMOR_FILE, with ARMOR_UNREPRESENTABLE if a value is outside the range of the dtype, or
/// with ARMOR_INVALID_CHECKPOINT if the output is damaged or in another format.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_job_layer_weight(
    job: *const JobHandle,
    index: usize,
    buffer: *mut f32,
    capacity: usize,
    needed: *mut usize,
) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let (job, memory) = unsafe { opaque::borrow("job", job)? };
        let buffer = Buffer::new("buffer", buffer, capacity, needed, &[memory])?;
        check(job, index)?;
        let layer = &job.layers()[index];
        let weight = || Ok(job.layer_weight(index)?.into_raw_vec_and_offset().0);
        // SAFETY: the caller keeps the module's contract.
        unsafe { buffer.fill(layer.rows * layer.cols, weight) }
    })
}

/// Writes a handle of the factors of a finished layer to out; free it with armor_factorization_free. They are the factors
/// in float as they were computed. After armor_job_finish, the call reads the output, which it can in the format factors.
///
/// Only a library with the feature `checkpoint` has this function; see armor_job. The call fails like
/// armor_job_layer_weight.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_job_layer_factorization(
    job: *const JobHandle,
    index: usize,
    out: *mut *mut FactorizationHandle,
) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let (job, memory) = unsafe { opaque::borrow("job", job)? };
        let out = Out::new("out", out)?.apart_from(&[memory])?;
        check(job, index)?;
        let factors = job.layer_factors(index)?;
        // SAFETY: the caller keeps the module's contract.
        unsafe { out.write(opaque::create(factors)) };
        Ok(())
    })
}

/// Puts other factors in the place of those of a finished layer, for a program that trains them further. They must have the
/// shape, the pattern and the block sizes of the layer. The losses in the report are those of the factorisation, and if
/// the caller calibrates the job, the report marks the layer as replaced. The factorisation does not change.
///
/// Only a library with the feature `checkpoint` has this function; see armor_job. The call fails with
/// ARMOR_JOB_UNFINISHED if the layer is not finished or the whole job is, with ARMOR_NO_SUCH_LAYER, ARMOR_INVALID_SHAPE,
/// ARMOR_OPTION_OUT_OF_RANGE (another pattern or block size), ARMOR_UNREPRESENTABLE if a value is outside the range of the
/// dtype, or ARMOR_FILE. The layer then keeps its factors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_job_replace_layer(
    job: *const JobHandle,
    index: usize,
    factorization: *const FactorizationHandle,
) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let ((job, _), (factorization, _)) =
            unsafe { (opaque::borrow("job", job)?, opaque::borrow("factorization", factorization)?) };
        check(job, index)?;
        Ok(job.replace_layer(index, factorization)?)
    })
}
