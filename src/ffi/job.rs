//! The handle of a job, which compresses a checkpoint.

use std::ffi::{c_char, c_void};
use std::ops::ControlFlow;

use super::buffer::Buffer;
use super::failure::Failure;
use super::guard::guard;
use super::opaque::{self, Opaque};
use super::pointer::{Out, Span, utf8};
use super::progress::{Callback, ProgressFn};
use super::status::ARMOR_NO_SUCH_LAYER;
use crate::checkpoint::{Job, JobSettings};
use crate::descent::progress::Progress;

/// A job that compresses a checkpoint, layer by layer. armor_job_free frees it. Any thread may use it, and several threads
/// may run layers at the same time. Several processes may open the same job, each with "resume": true in its settings.
///
/// Only a library that was built with the feature `checkpoint` has the functions armor_job_*: a program that calls them
/// does not link with another library. armor_features tells at run time whether the library has them.
#[derive(Debug)]
pub struct JobHandle {
    _opaque: (),
}

impl Opaque for JobHandle {
    type Inner = Job;
    const TAG: u64 = u64::from_le_bytes(*b"armorJOB");
    const NAME: &'static str = "a job";
}

/// Opens a job, and writes its handle to out. Free the handle with armor_job_free. settings points to len bytes of JSON in
/// UTF-8, without a NUL byte at the end; docs/checkpoints.md lists the keys. The call reads and checks the headers of all
/// files. It also checks all tensors and all finished layers, unless "check_values" is false. It writes no files.
///
/// Only a library with the feature `checkpoint` has this function; see armor_job. The call fails with ARMOR_INVALID_TEXT,
/// ARMOR_INVALID_SETTINGS, ARMOR_OPTION_OUT_OF_RANGE, ARMOR_FILE, ARMOR_INVALID_CHECKPOINT (the message contains the file
/// and the tensor), ARMOR_NOT_FINITE, ARMOR_NEGATIVE, ARMOR_ASYMMETRIC, ARMOR_OTHER_JOB or ARMOR_THREADS.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_job_create(settings: *const u8, len: usize, out: *mut *mut JobHandle) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let json = unsafe { utf8("settings", settings, len)? };
        let out = Out::new("out", out)?;
        out.span.is_apart_from(&[Span::new("settings", settings, len)?])?;
        let job = Job::open(JobSettings::from_json(json.as_bytes())?)?;
        // SAFETY: the caller keeps the module's contract.
        unsafe { out.write(opaque::create(job)) };
        Ok(())
    })
}

/// Frees a job; NULL is allowed. The finished layers stay on disk. No other call may use the job at this time. Only a
/// library with the feature `checkpoint` has this function; see armor_job.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_job_free(job: *mut JobHandle) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { opaque::free("job", job) })
}

/// Writes the number of layers to out. The layers have indices from 0, in the order of their names; numbers in names are
/// ordered by value. Only a library with the feature `checkpoint` has this function; see armor_job.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_job_layer_count(job: *const JobHandle, out: *mut usize) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let (job, memory) = unsafe { opaque::borrow("job", job)? };
        let out = Out::new("out", out)?.apart_from(&[memory])?;
        // SAFETY: the caller keeps the module's contract.
        unsafe { out.write(job.layers().len()) };
        Ok(())
    })
}

/// Copies the name of a layer's weight, with a NUL byte at its end, to buffer, which has space for capacity bytes. needed
/// may be NULL; otherwise the number of bytes, including the NUL byte, is written there, also on ARMOR_BUFFER_TOO_SMALL. To
/// ask for the number only, pass NULL and 0 for buffer and capacity. The call fails with ARMOR_NO_SUCH_LAYER for an index
/// that is not below armor_job_layer_count. Only a library with the feature `checkpoint` has this function; see armor_job.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_job_layer_name(
    job: *const JobHandle,
    index: usize,
    buffer: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe {
        copy_text(("job", job), (buffer, capacity, needed), |job| {
            check(job, index).map(|()| job.layers()[index].name.clone())
        })
    })
}

/// Writes 1 to out if any process has finished the layer, and 0 otherwise. The call fails with ARMOR_NO_SUCH_LAYER as
/// armor_job_layer_name does. Only a library with the feature `checkpoint` has this function; see armor_job.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_job_layer_done(job: *const JobHandle, index: usize, out: *mut u32) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let (job, memory) = unsafe { opaque::borrow("job", job)? };
        let out = Out::new("out", out)?.apart_from(&[memory])?;
        check(job, index)?;
        // SAFETY: the caller keeps the module's contract.
        unsafe { out.write(job.is_done(index).into()) };
        Ok(())
    })
}

/// Compresses a layer, and stores the result in the folder of the job. The call does nothing if the layer is finished.
/// progress may be NULL. The library passes user to progress unchanged. If progress cancels the layer, nothing is stored,
/// and the call fails with ARMOR_CANCELLED.
///
/// Only a library with the feature `checkpoint` has this function; see armor_job. The call fails with ARMOR_FILE if the
/// result cannot be written, with ARMOR_UNREPRESENTABLE if a value is outside the range of the job's dtype (the layer is
/// stored, and a job with another dtype can use it), with ARMOR_OTHER_JOB if an input has changed or the folder of the job
/// was removed, with ARMOR_NO_SUCH_LAYER, with ARMOR_MEMORY_LIMIT, with ARMOR_THREADS, with ARMOR_INVALID_SETTINGS if the
/// settings of the job have no "hessians" (armor_job_run_layer_on_hessian and armor_job_run_layer_on_pairs run its layers),
/// and like armor_job_create for wrong contents of files.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_job_run_layer(
    job: *const JobHandle,
    index: usize,
    progress: ProgressFn,
    user: *mut c_void,
) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let (job, _) = unsafe { opaque::borrow("job", job)? };
        check(job, index)?;
        Ok(job.run_layer(index, observer(progress, user))?)
    })
}

/// Writes the compressed checkpoint after all layers are finished. The call does nothing if the checkpoint was written
/// before. If several processes make this call, one of them writes and the others wait.
///
/// Only a library with the feature `checkpoint` has this function; see armor_job. The call fails with ARMOR_JOB_UNFINISHED,
/// ARMOR_FILE, ARMOR_UNREPRESENTABLE, or with ARMOR_OTHER_JOB if an input has changed or another process has finished the
/// job in another format or dtype.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_job_finish(job: *const JobHandle) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let (job, _) = unsafe { opaque::borrow("job", job)? };
        Ok(job.finish(&|_, _| {})?)
    })
}

/// Copies the plan of a job, JSON in UTF-8, to buffer: the files that are read and those that are not, every layer with its
/// shape, number types and calibration tokens, the tensors that are copied with the reasons, the Hessians that match no
/// weight, and the warnings. docs/checkpoints.md describes the decisions. buffer, capacity and needed have the same meaning
/// as in armor_job_layer_name. Only a library with the feature `checkpoint` has this function; see armor_job.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_job_plan(
    job: *const JobHandle,
    buffer: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { copy_text(("job", job), (buffer, capacity, needed), |job| Ok(job.plan())) })
}

/// Copies the report of a finished job, the text of report.json, to buffer. buffer, capacity and needed have the same
/// meaning as in armor_job_layer_name. The call fails with ARMOR_JOB_UNFINISHED before armor_job_finish. Only a library with
/// the feature `checkpoint` has this function; see armor_job.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_job_report(
    job: *const JobHandle,
    buffer: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { copy_text(("job", job), (buffer, capacity, needed), |job| Ok(job.report()?)) })
}

/// Makes the observer of a run from the caller's function, which may be NULL.
pub(super) fn observer(progress: ProgressFn, user: *mut c_void) -> impl FnMut(&Progress) -> ControlFlow<()> + Send {
    let callback = progress.map(|function| Callback { function, user });
    move |progress: &Progress| match &callback {
        Some(callback) => callback.call(progress),
        None => ControlFlow::Continue(()),
    }
}

/// Checks that the job has a layer with this index.
pub(super) fn check(job: &Job, index: usize) -> Result<(), Failure> {
    let layers = job.layers().len();
    if index < layers {
        return Ok(());
    }
    Err(Failure::new(ARMOR_NO_SUCH_LAYER, format!("index: is {index}, but the job has {layers} layers")))
}

/// Copies the text that `make` makes of an object to a buffer of the caller's, given as its pointer, its capacity and the
/// pointer `needed`.
///
/// # Safety
/// The contract of [`super`].
unsafe fn copy_text<T: Opaque>(
    (name, handle): (&'static str, *const T),
    (buffer, capacity, needed): (*mut c_char, usize, *mut usize),
    make: impl FnOnce(&T::Inner) -> Result<String, Failure>,
) -> Result<(), Failure> {
    // SAFETY: the caller keeps the contract.
    let (object, memory) = unsafe { opaque::borrow(name, handle)? };
    let buffer = Buffer::new("buffer", buffer, capacity, needed, &[memory])?;
    let text = make(object)?;
    // SAFETY: the caller keeps the contract.
    unsafe { buffer.fill_text(&text) }
}
