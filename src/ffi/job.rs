//! Jobs that compress whole checkpoints.

use std::ffi::{c_char, c_void};
use std::ops::ControlFlow;

use super::copy::Buffer;
use super::factorize::{Callback, ProgressFn};
use super::guard::guard;
use super::handle::{self, Opaque};
use super::pointer::{Out, Span, input};
use super::status::{ARMOR_INVALID_TEXT, ARMOR_NO_SUCH_LAYER, Failure};
use crate::checkpoint::{Job, Settings};

/// A checkpoint that is being compressed. Any thread may use it, layers may run side by side, and any number of processes
/// may have the same job open, each with "resume": true in its settings; armor_job_free frees it.
#[derive(Debug)]
pub struct JobHandle {
    _opaque: (),
}

impl Opaque for JobHandle {
    type Inner = Job;
    const TAG: u64 = u64::from_le_bytes(*b"armorJOB");
    const NAME: &'static str = "a job";
}

/// Opens a job that len bytes of JSON in UTF-8 describe, and writes its handle to out; free it with armor_job_free.
/// docs/checkpoints.md lists the keys; a NUL at the end is not needed and not allowed. All headers are read and checked,
/// and unless "check_values" is false all tensors, and what is done of the job. Nothing is written yet.
///
/// Fails with ARMOR_INVALID_TEXT, ARMOR_INVALID_SETTINGS, ARMOR_OPTION_OUT_OF_RANGE, ARMOR_FILE, ARMOR_INVALID_CHECKPOINT
/// (with file and tensor), ARMOR_NOT_FINITE, ARMOR_NEGATIVE, ARMOR_OTHER_JOB, ARMOR_THREADS.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_job_create(settings: *const u8, len: usize, out: *mut *mut JobHandle) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let json = unsafe { input("settings", settings, len)? };
        let out = Out::new("out", out)?;
        out.span.is_apart_from(&[Span::new("settings", settings, len)?])?;
        if let Err(error) = std::str::from_utf8(json) {
            let message = format!("settings: byte {} is not UTF-8", error.valid_up_to());
            return Err(Failure::new(ARMOR_INVALID_TEXT, message));
        }
        let job = Job::open(Settings::from_json(json)?)?;
        // SAFETY: the caller keeps the module's contract.
        unsafe { out.write(handle::create(job)) };
        Ok(())
    })
}

/// Frees a job, of which all that was done stays on disk; NULL is fine. No other call may be using it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_job_free(job: *mut JobHandle) -> u32 {
    // SAFETY: the caller keeps the module's contract.
    guard(|| unsafe { handle::free("job", job) })
}

/// Writes the number of layers to out. Layers have indices from 0, in the order of their names, numbers by value.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_job_layer_count(job: *const JobHandle, out: *mut usize) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let (job, memory) = unsafe { handle::borrow("job", job)? };
        let out = Out::new("out", out)?.apart_from(&[memory])?;
        // SAFETY: the caller keeps the module's contract.
        unsafe { out.write(job.layers().len()) };
        Ok(())
    })
}

/// Copies the name of a layer's weight to buffer, which holds capacity bytes, with a NUL at its end. needed, which may be
/// NULL, gets the bytes with that NUL, also on ARMOR_BUFFER_TOO_SMALL; buffer NULL with capacity 0 asks for it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_job_layer_name(
    job: *const JobHandle,
    index: usize,
    buffer: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let (job, memory) = unsafe { handle::borrow("job", job)? };
        let buffer = Buffer::new("buffer", buffer, capacity, needed, &[memory])?;
        check(job, index)?;
        // SAFETY: the caller keeps the module's contract.
        unsafe { fill(buffer, &job.layers()[index].name) }
    })
}

/// Writes to out whether a layer is done, by whatever process: 1 or 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_job_layer_done(job: *const JobHandle, index: usize, out: *mut u32) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let (job, memory) = unsafe { handle::borrow("job", job)? };
        let out = Out::new("out", out)?.apart_from(&[memory])?;
        check(job, index)?;
        // SAFETY: the caller keeps the module's contract.
        unsafe { out.write(job.is_done(index).into()) };
        Ok(())
    })
}

/// Compresses a layer and keeps the result in the job's folder; returns at once if it is done. progress may be NULL, user
/// is handed to it as it is. A layer that progress cancels is not kept: ARMOR_CANCELLED.
///
/// Fails with ARMOR_FILE where the result cannot be written, ARMOR_UNREPRESENTABLE for a value beyond the job's dtype (the
/// layer is kept, and can be had in another dtype), ARMOR_OTHER_JOB where an input has changed or the job's folder was
/// removed, ARMOR_NO_SUCH_LAYER, and as armor_job_create for what files hold.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_job_run_layer(
    job: *const JobHandle,
    index: usize,
    progress: ProgressFn,
    user: *mut c_void,
) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let (job, _) = unsafe { handle::borrow("job", job)? };
        check(job, index)?;
        let callback = progress.map(|function| Callback { function, user });
        let observer = move |progress: &crate::descent::progress::Progress| match &callback {
            Some(callback) => callback.call(progress),
            None => ControlFlow::Continue(()),
        };
        Ok(job.run_layer(index, observer)?)
    })
}

/// Writes the compressed checkpoint, once all layers are done; does nothing if it is written. Of several processes that
/// call it one writes, and the others wait for it. Fails with ARMOR_JOB_UNFINISHED, ARMOR_FILE, ARMOR_UNREPRESENTABLE, and
/// ARMOR_OTHER_JOB where an input has changed, or another process has finished the job in another format or dtype.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_job_finish(job: *const JobHandle) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let (job, _) = unsafe { handle::borrow("job", job)? };
        Ok(job.finish(&|_, _| {})?)
    })
}

/// Copies the report of a finished job, the text of report.json, as armor_job_layer_name does a name. Fails with
/// ARMOR_JOB_UNFINISHED before armor_job_finish.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn armor_job_report(
    job: *const JobHandle,
    buffer: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> u32 {
    guard(|| {
        // SAFETY: the caller keeps the module's contract.
        let (job, memory) = unsafe { handle::borrow("job", job)? };
        let buffer = Buffer::new("buffer", buffer, capacity, needed, &[memory])?;
        // SAFETY: the caller keeps the module's contract.
        unsafe { fill(buffer, &job.report()?) }
    })
}

fn check(job: &Job, index: usize) -> Result<(), Failure> {
    let layers = job.layers().len();
    if index < layers {
        return Ok(());
    }
    Err(Failure::new(ARMOR_NO_SUCH_LAYER, format!("index: is {index}, but the job has {layers} layers")))
}

/// Copies a text out, with a NUL.
///
/// # Safety
/// The contract of [`super`].
unsafe fn fill(buffer: Buffer<c_char>, text: &str) -> Result<(), Failure> {
    // SAFETY: passed on.
    unsafe { buffer.fill(text.len() + 1, || Ok(text.bytes().chain([0]).map(|byte| byte as c_char).collect())) }
}
