//! A job: the layers of a checkpoint, compressed one by one in any order, by any number of processes.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::fingerprint::Fingerprint;
use super::inputs::Inputs;
use super::part::Part;
use super::parts::{Parts, Stage};
use super::report::{self, Report};
use super::selection::{Selected, select};
use super::settings::{ObjectiveName, Settings};
use super::source::{Loaded, Source};
use super::{in_file, names, output, stored_loss};
use crate::descent::options::Options;
use crate::descent::progress::Progress;
use crate::descent::run::Descent;
use crate::error::Error;
use crate::result::factorization::Factorization;
use crate::result::formats::Format;
use crate::result::record::StopReason;

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

/// A checkpoint that is being compressed.
///
/// Any thread may use it, and any number of processes may have the same job open, each with [`Settings::resume`]: layers
/// go to files of their own, which appear whole or not at all. Nothing may change the input files meanwhile; what has
/// changed between two runs of a job is refused.
pub struct Job {
    pub(super) settings: Settings,
    options: Options,
    pub(super) checkpoint: Source,
    pub(super) hessians: Source,
    layers: Vec<Selected>,
    pub(super) fingerprint: Fingerprint,
    pub(super) parts: Parts,
    /// Whether the output folder is known to have held the job.
    begun: AtomicBool,
    /// The digests of all inputs, if this process has taken them.
    pub(super) inputs: OnceLock<Inputs>,
    pool: Option<rayon::ThreadPool>,
}

impl Job {
    /// Opens a job: reads all headers, selects the tensors, and checks all that can be checked before any work.
    ///
    /// # Errors
    /// [`Error::Settings`], [`Error::Option`]; [`Error::File`] and [`Error::Tensor`] for files that cannot be read, lie,
    /// or lack what is needed; [`Error::InTensor`] for values that are not finite; [`Error::OtherJob`] where the output
    /// folder holds anything but this job, or this job and [`Settings::resume`] is not set; [`Error::Threads`]; and those
    /// of [`Job::check_values`].
    pub fn open(settings: Settings) -> Result<Self, Error> {
        let options = settings.options()?;
        let checkpoint = Source::open(&settings.checkpoint)?;
        let hessians = Source::open(&settings.hessians)?;
        let layers = select(&settings, &checkpoint, &hessians)?;
        names::check(&checkpoint, &layers, settings.format)?;
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
                crate::kernels::pool::start()?;
                None
            }
            threads => Some(pool(threads)?),
        };
        let (begun, inputs) = (AtomicBool::new(stage != Stage::New), OnceLock::new());
        let job = Job { settings, options, checkpoint, hessians, layers, fingerprint, parts, begun, inputs, pool };
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
        // In this order: parts may vanish in between, but only when the job is finished.
        self.parts.has(index) || self.is_finished()
    }

    /// Whether the whole job is finished, by whatever process.
    pub fn is_finished(&self) -> bool {
        self.parts.are_gone() && self.settings.out.join(report::NAME).exists()
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
        if !self.begin()? {
            return Ok(());
        }
        let descent = Descent::new(&self.options)?.observer(observer);
        let (result, inputs) = self.with_layer(index, |loaded| {
            let digests = loaded.digests();
            self.check_inputs(index, &digests)?;
            Ok((self.install(|| descent.run(&loaded.layer))?, digests))
        })?;
        if result.stop_reason() == StopReason::Cancelled {
            return Err(Error::Cancelled);
        }
        let part = Part { result, inputs };
        self.keep(index, &part)?;
        self.check_fits(index, &part.result)
    }

    /// Makes ready for layers, and says whether any is needed: not if another process has finished the job.
    fn begin(&self) -> Result<bool, Error> {
        if self.parts.are_gone() {
            if self.is_finished() {
                return Ok(false);
            }
            if self.begun.load(Ordering::Relaxed) {
                return Err(self.parts.lost());
            }
        }
        match self.parts.begin(&self.fingerprint, self.inputs.get()) {
            Err(_) if self.is_finished() => return Ok(false),
            result => result?,
        }
        self.begun.store(true, Ordering::Relaxed);
        Ok(true)
    }

    /// Keeps the result of a layer, unless the whole job was finished meanwhile.
    fn keep(&self, index: usize, part: &Part) -> Result<(), Error> {
        let bytes = part.to_bytes(self.layers[index].stem(), self.fingerprint.digest())?;
        match self.parts.put(index, &bytes) {
            Err(_) if self.is_finished() => Ok(()),
            Err(_) if self.parts.are_gone() => Err(self.parts.lost()),
            result => result,
        }
    }

    /// Compresses all layers that are not done, up to `in_flight` at a time.
    ///
    /// # Errors
    /// That of the first layer that fails, when those in flight have ended. [`Error::Option`] where `in_flight` is 0.
    pub fn run(&self, in_flight: usize, observer: &(dyn Fn(Event) + Sync)) -> Result<(), Error> {
        if in_flight == 0 {
            return Err(Error::Option { name: "layers_in_flight", value: "0".to_owned(), expected: "1 or more" });
        }
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
            for _ in 0..in_flight.min(todo.len()) {
                scope.spawn(work);
            }
        });
        failure.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }

    /// Writes the compressed checkpoint, report and summary, and removes the parts; does nothing if that is done.
    /// `progress` is told (layers written, layers). Of several processes that call it one writes, and the others wait for
    /// it. What another call has begun to write, in whatever format, is written anew.
    ///
    /// # Errors
    /// [`Error::Unfinished`] with the first layer that is not done; [`Error::File`] where a file cannot be written, for
    /// which nothing stands half-written under a final name, and for a result that was damaged; [`Error::OtherJob`] where
    /// an input has changed, or another process has finished the job in another format or dtype; [`Error::InTensor`] with
    /// [`Error::Overflow`] as [`Job::run_layer`].
    pub fn finish(&self, progress: &dyn Fn(usize, usize)) -> Result<(), Error> {
        if !self.is_finished() {
            if let Some(index) = (0..self.layers.len()).find(|&index| !self.is_done(index)) {
                let problem = format!("layer {index}, {}, is not done", self.layers[index].name);
                return Err(Error::Unfinished { problem });
            }
            if let Some(_lock) = self.parts.lock()? {
                self.parts.begin(&self.fingerprint, self.inputs.get())?;
                output::write(self, progress)?;
                return self.parts.remove();
            }
            if !self.is_finished() {
                return Err(self.parts.lost());
            }
        }
        report::check_finished(&self.settings, &self.fingerprint, &self.parts)?;
        self.parts.sweep()
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
        body: impl FnOnce(&Loaded<'_>) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let selected = &self.layers[index];
        let hessian = self.hessians.hessian(&selected.hessian, self.settings.objective == ObjectiveName::Full)?;
        self.checkpoint.with_layer(&selected.name, hessian, body)
    }

    /// Refuses a result that cannot be stored in the format and dtype of the job.
    fn check_fits(&self, index: usize, result: &Factorization) -> Result<(), Error> {
        let stored = match self.settings.format {
            Format::Reconstructed => self.install(|| stored_loss::product(result, self.settings.dtype)).map(|_| ()),
            _ => result.rounded(self.settings.dtype).map(|_| ()),
        };
        stored.map_err(|error| self.in_layer(index, error))
    }

    /// An error of a layer's values, with its name.
    pub(super) fn in_layer(&self, index: usize, error: Error) -> Error {
        let layer = &self.layers[index];
        Error::InTensor { file: layer.file.clone(), tensor: layer.name.clone(), error: Box::new(error) }
    }
}

fn pool(threads: usize) -> Result<rayon::ThreadPool, Error> {
    let builder = rayon::ThreadPoolBuilder::new().num_threads(threads);
    builder.build().map_err(|error| Error::Threads { threads, reason: error.to_string() })
}
