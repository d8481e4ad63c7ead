//! A job: the layers of a checkpoint, compressed one by one in any order, by any number of processes.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use ndarray::Array2;

use super::calibration::Calibration;
use super::context::{JobContext, JobFiles};
use super::error::{CheckpointError, io_error, setting_error};
use super::fingerprint::Fingerprint;
use super::folder::JobFolder;
use super::hessian_names::UnmatchedHessian;
use super::output_files::REPORT;
use super::resume::JobStage;
use super::selected_tensor::SelectedTensor;
use super::selection::{CopiedTensor, select};
use super::settings::JobSettings;
use super::{output, output_names, plan, report};
use crate::descent::progress::Progress;
use crate::descent::run::Descent;
use crate::error::Error;
use crate::result::factorization::Factorization;

/// An event of a layer that [`Job::run`] reports to its observer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The run of a layer begins.
    Started {
        /// The index of the layer.
        index: usize,
    },
    /// The run of a layer has completed an iteration.
    Iteration {
        /// The index of the layer.
        index: usize,
        /// The state of the run.
        progress: Progress,
    },
    /// The result of a layer is complete and on disk.
    Done {
        /// The index of the layer.
        index: usize,
    },
}

/// Compresses a checkpoint, layer by layer.
///
/// Threads may share a job. Any number of processes may have the same job open, each with [`JobSettings::resume`]: every
/// layer has a file of its own, which appears whole or not at all. The input files must not change while a job is open;
/// inputs that have changed between two runs of a job are refused.
pub struct Job {
    context: JobContext,
}

impl fmt::Debug for Job {
    /// Writes the settings and the number of layers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layers = self.context.selection.layers.len();
        f.debug_struct("Job").field("settings", self.settings()).field("layers", &layers).finish_non_exhaustive()
    }
}

impl Job {
    /// Opens a job: reads all headers, selects the tensors, and checks all that can be checked before any layer runs.
    ///
    /// # Errors
    /// [`CheckpointError::Settings`]; [`CheckpointError::Core`] with [`Error::Option`] or [`Error::Threads`];
    /// [`CheckpointError::Io`], [`CheckpointError::File`] and [`CheckpointError::Tensor`] for files that cannot be read,
    /// have a wrong header, or lack what is needed; [`CheckpointError::InTensor`] for values that are not finite;
    /// [`CheckpointError::OtherJob`] where the output folder holds anything but this job, or this job and
    /// [`JobSettings::resume`] is not set; and those of [`Job::check_values`].
    pub fn open(settings: JobSettings) -> Result<Self, CheckpointError> {
        settings.check()?;
        let files = JobFiles::open(&settings)?;
        let selection = select(&settings, (&files.checkpoint, files.config.as_ref()), files.hessians.as_ref())?;
        output_names::check(&selection, settings.format)?;
        let fingerprint = Fingerprint::new(&settings, (&files.checkpoint, files.hessians.as_ref()), &selection.layers)?;
        let folder = JobFolder::new(&settings.out);
        let begun = JobStage::of(&folder, &settings, &fingerprint)? != JobStage::New;
        let context = JobContext::new(settings, files, selection, fingerprint, (folder, begun))?;
        if context.settings.check_values {
            context.check_values(&|_, _| {})?;
        }
        Ok(Job { context })
    }

    /// Returns the settings that the job was opened with.
    pub fn settings(&self) -> &JobSettings {
        &self.context.settings
    }

    /// Returns the layers, in the order of their names, numbers by value.
    pub fn layers(&self) -> &[SelectedTensor] {
        &self.context.selection.layers
    }

    /// Returns the tensors that are copied, each with the reason, in the order of their names.
    pub fn copied(&self) -> &[CopiedTensor] {
        &self.context.selection.copied
    }

    /// Returns the Hessians that match no tensor of the checkpoint.
    pub fn unmatched_hessians(&self) -> &[UnmatchedHessian] {
        &self.context.selection.unmatched
    }

    /// Returns what a user should know before the job runs, in sentences: what follows from the headers, and, once
    /// [`Job::check_values`] has read the inputs, what follows from their values.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        self.context.all_warnings().map(String::as_str)
    }

    /// Returns, as JSON, what the job does with every file and tensor: the files that are read and those that are not,
    /// every layer with its shape, orientation, number types and calibration tokens, the tensors that are copied with the
    /// reasons, the Hessians that match no weight, and the warnings.
    pub fn plan(&self) -> String {
        plan::text(&self.context)
    }

    /// Returns whether layer `index` is done, by any process.
    ///
    /// # Panics
    /// If there is no such layer.
    pub fn is_done(&self, index: usize) -> bool {
        assert!(index < self.layers().len(), "no layer {index}");
        self.context.is_done(index)
    }

    /// Returns whether the whole job is finished, by any process.
    pub fn is_finished(&self) -> bool {
        self.context.is_finished()
    }

    /// Reads the whole checkpoint and its Hessians, and the finished layers of the job: refuses all that a run would
    /// refuse, inputs that have changed since the job began, and damaged results. [`Job::open`] calls it unless
    /// [`JobSettings::check_values`] is off. `progress` gets (layers checked, layers).
    ///
    /// # Errors
    /// [`CheckpointError::InTensor`] with file, tensor and the first bad entry; [`CheckpointError::OtherJob`] with file
    /// and tensor of an input that has changed; [`CheckpointError::File`] with the file of a damaged result.
    pub fn check_values(&self, progress: &dyn Fn(usize, usize)) -> Result<(), CheckpointError> {
        self.context.check_values(progress)
    }

    /// Compresses layer `index` and keeps the result; returns at once if the layer is done. `observer` is called after
    /// every iteration and may cancel the layer.
    ///
    /// # Errors
    /// [`CheckpointError::Settings`] in a job that its caller calibrates; [`CheckpointError::Cancelled`], after which nothing
    /// of the layer is kept; [`CheckpointError::Io`] where the result cannot be written; as [`Job::open`] for the content of
    /// a file. [`CheckpointError::InTensor`] with [`Error::Overflow`] where a value does not fit [`JobSettings::dtype`]: the
    /// result is kept, and the job may be resumed with another dtype.
    ///
    /// # Panics
    /// If there is no such layer.
    pub fn run_layer(
        &self,
        index: usize,
        observer: impl FnMut(&Progress) -> ControlFlow<()> + Send,
    ) -> Result<(), CheckpointError> {
        self.check_calibration(false)?;
        self.run_with(index, None, observer)
    }

    /// Does the same as [`Job::run_layer`] in a job without [`JobSettings::hessians`]: compresses layer `index` under what
    /// the caller knows of its inputs. The result is measured as it is stored, in the job's format and dtype, and the part
    /// of the layer keeps these numbers.
    ///
    /// A layer that is done stays as it is, whatever calibration it was done with.
    ///
    /// # Errors
    /// As [`Job::run_layer`], but for [`Error::Overflow`], after which nothing of the layer is kept;
    /// [`CheckpointError::Settings`] where the job reads Hessians from files; [`CheckpointError::InTensor`] with
    /// [`Error::HessianLength`] where the Hessian has another number of inputs than the layer, or with
    /// [`Error::HessianNotFull`] where the objective needs more than a diagonal.
    ///
    /// # Panics
    /// If there is no such layer.
    pub fn run_layer_on(
        &self,
        index: usize,
        calibration: Calibration<'_>,
        observer: impl FnMut(&Progress) -> ControlFlow<()> + Send,
    ) -> Result<(), CheckpointError> {
        self.check_calibration(true)?;
        self.run_with(index, Some(calibration), observer)
    }

    fn run_with(
        &self,
        index: usize,
        calibration: Option<Calibration<'_>>,
        observer: impl FnMut(&Progress) -> ControlFlow<()> + Send,
    ) -> Result<(), CheckpointError> {
        assert!(index < self.layers().len(), "no layer {index}");
        self.context.run_layer(index, calibration, Descent::new(&self.layers()[index].options)?.observer(observer))
    }

    /// Refuses a call that passes a calibration where files have the Hessians, or none where the caller calibrates.
    fn check_calibration(&self, is_passed: bool) -> Result<(), CheckpointError> {
        match (self.settings().hessians.is_none(), is_passed) {
            (true, false) => Err(setting_error(
                "hessians",
                "is absent, so every layer is run with a calibration of the caller's: use run_layer_on instead",
            )),
            (false, true) => Err(setting_error(
                "hessians",
                "is given, so every layer is run with the Hessian of its file: use run_layer instead",
            )),
            _ => Ok(()),
        }
    }

    /// Returns the weight that a finished layer has from now on: the product A · S · B as it is stored, rounded to the dtype,
    /// m × k, [outputs, inputs] however the checkpoint stores it. Any process may have done the layer.
    ///
    /// Once the job is finished, the output is read. Of the formats only [`Format::Factors`] and [`Format::Reconstructed`] can
    /// be read back then.
    ///
    /// # Errors
    /// [`CheckpointError::Unfinished`] where the layer is not done; [`CheckpointError::File`] for a damaged result;
    /// [`CheckpointError::InTensor`] with [`Error::Overflow`] where a value does not fit the dtype;
    /// [`CheckpointError::Tensor`] where the job is finished in a format that cannot be read back, or the output is
    /// damaged; [`CheckpointError::Io`].
    ///
    /// # Panics
    /// If there is no such layer.
    ///
    /// [`Format::Factors`]: crate::Format::Factors
    /// [`Format::Reconstructed`]: crate::Format::Reconstructed
    pub fn layer_weight(&self, index: usize) -> Result<Array2<f32>, CheckpointError> {
        assert!(index < self.layers().len(), "no layer {index}");
        self.context.layer_weight(index)
    }

    /// Returns the factors of a finished layer: in f32 as they were computed, or, once the job is finished in the format
    /// [`Format::Factors`], as they are stored. Any process may have done the layer.
    ///
    /// # Errors
    /// As [`Job::layer_weight`].
    ///
    /// # Panics
    /// If there is no such layer.
    ///
    /// [`Format::Factors`]: crate::Format::Factors
    pub fn layer_factors(&self, index: usize) -> Result<Factorization, CheckpointError> {
        assert!(index < self.layers().len(), "no layer {index}");
        self.context.layer_factors(index)
    }

    /// Puts other factors in the place of those of a finished layer, for a program that trains them further. They must have
    /// the shape, the pattern and the blocks of the layer; which entries the core keeps may differ. The losses in the report
    /// are those that the factors were recorded with, except that of a rounded layer whose Hessian is in a file, which is
    /// measured. In a job that its caller calibrates, the report marks the layer as `replaced`.
    ///
    /// # Errors
    /// [`CheckpointError::Unfinished`] where the layer is not done, and where the whole job is finished;
    /// [`CheckpointError::InTensor`] with [`Error::Length`] or [`Error::Option`] for factors of another shape, pattern or
    /// other blocks, and with [`Error::Overflow`] where a value does not fit [`JobSettings::dtype`]; in these cases the layer
    /// keeps its factors. [`CheckpointError::Io`]; [`CheckpointError::File`] for a damaged result.
    ///
    /// # Panics
    /// If there is no such layer.
    pub fn replace_layer(&self, index: usize, factors: &Factorization) -> Result<(), CheckpointError> {
        assert!(index < self.layers().len(), "no layer {index}");
        self.context.replace_layer(index, factors)
    }

    /// Compresses all layers that are not done, up to `in_flight` at a time.
    ///
    /// # Errors
    /// The error of the first layer that fails, after the layers in flight have ended. [`CheckpointError::Core`] with
    /// [`Error::Option`] where `in_flight` is 0; [`CheckpointError::Settings`] in a job that its caller calibrates.
    pub fn run(&self, in_flight: usize, observer: &(dyn Fn(Event) + Sync)) -> Result<(), CheckpointError> {
        self.check_calibration(false)?;
        if in_flight == 0 {
            let (name, value) = ("layers_in_flight", "0".to_owned());
            return Err(Error::Option { name, value, expected: "1 or more" }.into());
        }
        let todo: Vec<usize> = (0..self.layers().len()).filter(|&index| !self.is_done(index)).collect();
        let (next, failure) = (AtomicUsize::new(0), Mutex::new(None));
        let failure = &failure;
        let work = || {
            while let Some(&index) = todo.get(next.fetch_add(1, Ordering::Relaxed)) {
                if failure.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                    return;
                }
                if let Err(error) = self.run_observed(index, observer) {
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
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

    fn run_observed(&self, index: usize, observer: &(dyn Fn(Event) + Sync)) -> Result<(), CheckpointError> {
        observer(Event::Started { index });
        self.run_layer(index, |progress| {
            observer(Event::Iteration { index, progress: *progress });
            ControlFlow::Continue(())
        })?;
        observer(Event::Done { index });
        Ok(())
    }

    /// Writes the compressed checkpoint, report and summary, and removes the files of single layers; does nothing if the
    /// job is finished. `progress` gets (layers written, layers). If several processes call it, one of them writes and the
    /// others wait. The incomplete output of an earlier call, in whatever format, is replaced.
    ///
    /// # Errors
    /// [`CheckpointError::Unfinished`] with the first layer that is not done; [`CheckpointError::Io`] where a file cannot
    /// be written, in which case no incomplete file has a final name; [`CheckpointError::File`] for a damaged result;
    /// [`CheckpointError::OtherJob`] where an input has changed, or another process has finished the job in another format
    /// or dtype; [`CheckpointError::InTensor`] with [`Error::Overflow`] as [`Job::run_layer`].
    pub fn finish(&self, progress: &dyn Fn(usize, usize)) -> Result<(), CheckpointError> {
        let job = &self.context;
        if !job.is_finished() {
            if let Some(index) = (0..job.selection.layers.len()).find(|&index| !job.is_done(index)) {
                let problem = format!("layer {index}, {}, is not done", job.selection.layers[index].name);
                return Err(CheckpointError::Unfinished { problem });
            }
            if let Some(_lock) = job.folder.lock()? {
                job.keep_record()?;
                job.keep_inputs()?;
                output::write(job, progress)?;
                return job.folder.remove();
            }
            if !job.is_finished() {
                return Err(job.lost());
            }
        }
        report::check_finished(&job.settings, &job.fingerprint, &job.folder)?;
        job.folder.sweep()
    }

    /// Returns the text of `report.json`.
    ///
    /// # Errors
    /// [`CheckpointError::Unfinished`] before [`Job::finish`]; [`CheckpointError::Io`].
    pub fn report(&self) -> Result<String, CheckpointError> {
        if !self.is_finished() {
            let problem = "there is no report before it is finished".to_owned();
            return Err(CheckpointError::Unfinished { problem });
        }
        let path = self.settings().out.join(REPORT);
        std::fs::read_to_string(&path).map_err(io_error(&path))
    }
}
