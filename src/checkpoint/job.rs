//! A job: the layers of a checkpoint, compressed one by one in any order, by any number of processes.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::fingerprint::Fingerprint;
use super::output;
use super::parts::{Parts, Stage};
use super::report::{self, Report};
use super::selection::{Selected, select};
use super::settings::{ObjectiveName, Settings};
use super::source::Source;
use super::{in_file, in_tensor};
use crate::formats::metadata;
use crate::{Descent, Error, Factorization, Format, Layer, Options, Precision, Progress, StopReason};

/// What [`Job::run`] tells of its layers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A layer begins.
    Started {
        /// Its index.
        index: usize,
    },
    /// A layer has done an iteration.
    Iteration {
        /// Its index.
        index: usize,
        /// How far it is.
        progress: Progress,
    },
    /// A layer is finished and safe on disk.
    Done {
        /// Its index.
        index: usize,
    },
}

/// Metadata key of a part that says to which job it belongs.
const JOB: &str = "armor.job";

/// A checkpoint that is being compressed.
///
/// Any thread may use it, and any number of processes may have the same job open, each with [`Settings::resume`]: layers
/// go to files of their own, which appear whole or not at all. Nothing may change the input files meanwhile.
pub struct Job {
    pub(super) settings: Settings,
    options: Options,
    pub(super) checkpoint: Source,
    hessians: Source,
    layers: Vec<Selected>,
    fingerprint: Fingerprint,
    pub(super) parts: Parts,
    pool: Option<rayon::ThreadPool>,
}

impl Job {
    /// Opens a job: reads all headers, selects the tensors, and checks all that can be checked before any work.
    ///
    /// # Errors
    /// [`Error::Settings`], [`Error::Option`]; [`Error::File`] and [`Error::Tensor`] for files that cannot be read, lie,
    /// or lack what is needed; [`Error::InTensor`] for values that are not finite; [`Error::OtherJob`] where the output
    /// folder holds anything but this job, or this job and [`Settings::resume`] is not set; [`Error::Threads`].
    pub fn open(settings: Settings) -> Result<Self, Error> {
        let options = settings.options()?;
        let checkpoint = Source::open(&settings.checkpoint)?;
        let hessians = Source::open(&settings.hessians)?;
        let layers = select(&settings, &checkpoint, &hessians)?;
        let fingerprint = Fingerprint::new(&settings, (&checkpoint, &hessians), &layers)?;
        let parts = Parts::new(&settings.out);
        let stage = parts.stage(&fingerprint)?;
        match stage {
            Stage::New => {}
            _ if !settings.resume => {
                let what = if stage == Stage::Started { "an unfinished job" } else { "files" };
                return Err(parts.other(format!("holds {what} already: choose another folder, or resume")));
            }
            Stage::Started => {}
            Stage::Finished => report::check_finished(&settings, &fingerprint, &parts)?,
        }
        let pool = match settings.threads {
            0 => {
                crate::pool::start()?;
                None
            }
            threads => Some(pool(threads)?),
        };
        let job = Job { settings, options, checkpoint, hessians, layers, fingerprint, parts, pool };
        if job.settings.check_values {
            job.check_values(&|_, _| {})?;
        }
        Ok(job)
    }

    /// The settings it was opened with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The options of every layer.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The layers, in the order of their names, numbers by value.
    pub fn layers(&self) -> &[Selected] {
        &self.layers
    }

    /// Whether layer `index` is finished, by whatever process.
    ///
    /// # Panics
    /// If there is no such layer.
    pub fn is_done(&self, index: usize) -> bool {
        assert!(index < self.layers.len(), "no layer {index}");
        self.is_finished() || self.parts.has(index)
    }

    /// Whether the whole job is finished, by whatever process.
    pub fn is_finished(&self) -> bool {
        self.parts.are_gone() && self.settings.out.join(report::NAME).exists()
    }

    /// Reads every weight and Hessian that is still to do, and refuses what a run would refuse: [`Job::open`] does so
    /// unless [`Settings::check_values`] is off. `progress` is told (layers checked, layers).
    ///
    /// # Errors
    /// [`Error::InTensor`] with file, tensor and the first bad entry.
    pub fn check_values(&self, progress: &dyn Fn(usize, usize)) -> Result<(), Error> {
        for index in 0..self.layers.len() {
            if !self.is_done(index) {
                self.with_layer(index, |_| Ok(()))?;
            }
            progress(index + 1, self.layers.len());
        }
        Ok(())
    }

    /// Compresses layer `index` and keeps the result; returns at once if it is done. `observer` is called once an
    /// iteration and may cancel.
    ///
    /// # Errors
    /// [`Error::Cancelled`], and nothing is kept; [`Error::File`] where the result cannot be written; as
    /// [`Job::open`] for what a file holds. [`Error::InTensor`] with [`Error::Overflow`] where a value does not fit
    /// [`Settings::dtype`]: the result is kept, and may be resumed with another one.
    ///
    /// # Panics
    /// If there is no such layer.
    pub fn run_layer(
        &self,
        index: usize,
        observer: impl FnMut(&Progress) -> ControlFlow<()> + Send,
    ) -> Result<(), Error> {
        if self.is_done(index) {
            return Ok(());
        }
        // Before the descent: a folder that cannot be written must not cost a finished layer.
        self.parts.begin(&self.fingerprint)?;
        let descent = Descent::new(&self.options)?.observer(observer);
        let result = self.with_layer(index, |layer| self.install(|| descent.run(layer)))?;
        if result.stop_reason() == StopReason::Cancelled {
            return Err(Error::Cancelled);
        }
        let mut words = metadata(&result, "");
        words.insert(JOB.to_owned(), self.fingerprint.digest());
        let bytes = result.to_file(self.layers[index].stem(), (Format::Factors, Precision::F32), words)?;
        self.parts.put(index, &bytes)?;
        self.rounded(index, &result).map(|_| ())
    }

    /// Compresses all layers that are not done, up to `in_flight` at a time.
    ///
    /// # Errors
    /// That of the first layer that fails, when those in flight have ended.
    pub fn run(&self, in_flight: usize, observer: &(dyn Fn(Event) + Sync)) -> Result<(), Error> {
        let todo: Vec<usize> = (0..self.layers.len()).filter(|&index| !self.is_done(index)).collect();
        let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
        let failure = &failure;
        let work = || {
            while let Some(&index) = todo.get(next.fetch_add(1, Ordering::Relaxed)) {
                if failure.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                    return;
                }
                observer(Event::Started { index });
                let result = self.run_layer(index, |progress| {
                    observer(Event::Iteration { index, progress: *progress });
                    ControlFlow::Continue(())
                });
                match result {
                    Ok(()) => observer(Event::Done { index }),
                    Err(error) => {
                        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..in_flight.clamp(1, todo.len().max(1)) {
                scope.spawn(work);
            }
        });
        failure.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }

    /// Writes the compressed checkpoint, report and summary, and removes the parts; does nothing if that is done.
    /// `progress` is told (layers written, layers). Once all layers are done, one process calls it.
    ///
    /// # Errors
    /// [`Error::Unfinished`] with the first layer that is not done; [`Error::File`] where a file cannot be written, for
    /// which nothing stands half-written under a final name; [`Error::InTensor`] with [`Error::Overflow`] as
    /// [`Job::run_layer`].
    pub fn finish(&self, progress: &dyn Fn(usize, usize)) -> Result<(), Error> {
        if self.is_finished() {
            return self.parts.sweep();
        }
        if let Some(index) = (0..self.layers.len()).find(|&index| !self.is_done(index)) {
            let problem = format!("layer {index}, {}, is not done", self.layers[index].name);
            return Err(Error::Unfinished { problem });
        }
        self.parts.begin(&self.fingerprint)?;
        output::write(self, progress)?;
        self.parts.remove()
    }

    /// The text of `report.json`.
    ///
    /// # Errors
    /// [`Error::Unfinished`] before [`Job::finish`], [`Error::File`].
    pub fn report(&self) -> Result<String, Error> {
        if !self.is_finished() {
            return Err(Error::Unfinished { problem: "there is no report before it is finished".to_owned() });
        }
        let path = self.settings.out.join(report::NAME);
        std::fs::read_to_string(&path).map_err(|error| in_file(&path, error))
    }

    /// An empty report that says what the job is.
    pub(super) fn new_report(&self) -> Result<Report, Error> {
        Report::new(&self.settings, &self.fingerprint)
    }

    /// Runs something in the job's own threads.
    pub(super) fn install<R: Send>(&self, body: impl FnOnce() -> R + Send) -> R {
        match &self.pool {
            Some(pool) => pool.install(body),
            None => body(),
        }
    }

    /// Hands a layer to `body`; its tensors are mapped only meanwhile.
    pub(super) fn with_layer<R>(
        &self,
        index: usize,
        body: impl FnOnce(&Layer<'_>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let selected = &self.layers[index];
        let hessian = self.hessians.hessian(&selected.hessian, self.settings.objective == ObjectiveName::Full)?;
        self.checkpoint.with_layer(&selected.name, hessian, body)
    }

    /// Reads the result of a layer.
    pub(super) fn result(&self, index: usize) -> Result<Factorization, Error> {
        let (path, bytes) = self.parts.get(index)?;
        let name = self.layers[index].stem();
        let in_part = |error| match error {
            Error::Bytes { key, problem } => in_tensor(&path.display().to_string(), &key, problem),
            other => other,
        };
        let (result, words) = Factorization::with_words(&bytes, name).map_err(in_part)?;
        match words.get(JOB) {
            Some(job) if *job == self.fingerprint.digest() => Ok(result),
            _ => Err(self.parts.other(format!("{} is of another job", path.display()))),
        }
    }

    /// The result of a layer in the precision that it is stored in.
    pub(super) fn rounded(&self, index: usize, result: &Factorization) -> Result<Factorization, Error> {
        result.rounded(self.settings.dtype).map_err(|error| Error::InTensor {
            file: self.layers[index].file.clone(),
            tensor: self.layers[index].name.clone(),
            error: Box::new(error),
        })
    }
}

fn pool(threads: usize) -> Result<rayon::ThreadPool, Error> {
    let builder = rayon::ThreadPoolBuilder::new().num_threads(threads);
    builder.build().map_err(|error| Error::Threads { threads, reason: error.to_string() })
}
