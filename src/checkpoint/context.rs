//! The parts of an open job that its calls share: settings, inputs, layers, folder and threads.

use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use super::error::{CheckpointError, file_error};
use super::fingerprint::Fingerprint;
use super::folder::{INPUTS, JobFolder};
use super::input_digests::InputDigests;
use super::layer_part::LayerPart;
use super::model_config::ModelConfig;
use super::selection::Selection;
use super::settings::JobSettings;
use super::side_files::SideFiles;
use super::source::{LoadedLayer, Source};
use crate::descent::options::Objective;
use crate::error::Error;
use crate::input::hessian::Hessian;
use crate::kernels::pool;

/// The files of a job's inputs.
pub(super) struct JobFiles {
    /// `config.json` of the model.
    pub config: Option<ModelConfig>,
    pub checkpoint: Source,
    /// `None` where the caller calibrates.
    pub hessians: Option<Source>,
    pub side_files: SideFiles,
}

impl JobFiles {
    /// Opens all files, and checks their headers.
    pub fn open(settings: &JobSettings) -> Result<Self, CheckpointError> {
        let config = ModelConfig::read(&settings.checkpoint)?;
        let checkpoint = Source::checkpoint(&settings.checkpoint, config.as_ref())?;
        let hessians = settings.hessians.as_deref().map(Source::hessians).transpose()?;
        let side_files = SideFiles::of(&checkpoint, &settings.out, settings.format)?;
        Ok(JobFiles { config, checkpoint, hessians, side_files })
    }
}

/// An open job.
pub(super) struct JobContext {
    pub settings: JobSettings,
    pub config: Option<ModelConfig>,
    pub checkpoint: Source,
    /// `None` where the caller calibrates.
    pub hessians: Option<Source>,
    pub side_files: SideFiles,
    pub selection: Selection,
    pub fingerprint: Fingerprint,
    pub folder: JobFolder,
    /// Whether the output folder is known to have held the job.
    pub begun: AtomicBool,
    /// Whether this process has compared the folder's fingerprint with the job's, or written it.
    pub record_is_kept: AtomicBool,
    /// The digests of all inputs, if this process has computed them.
    pub inputs: OnceLock<InputDigests>,
    /// The warnings that follow from the values of the inputs, once this process has read them.
    pub warnings: OnceLock<Vec<String>>,
    /// The digests in the folder, once this process has read them; nobody replaces them.
    recorded: OnceLock<InputDigests>,
    pool: Option<rayon::ThreadPool>,
}

impl JobContext {
    /// Starts the job's threads; `begun` says whether the output folder holds the job.
    pub fn new(
        settings: JobSettings,
        files: JobFiles,
        selection: Selection,
        fingerprint: Fingerprint,
        (folder, begun): (JobFolder, bool),
    ) -> Result<Self, CheckpointError> {
        let threads = settings.options.threads;
        let pool = match threads {
            0 => pool::start().map(|()| None)?,
            _ => Some(pool_of(threads)?),
        };
        Ok(JobContext {
            settings,
            config: files.config,
            checkpoint: files.checkpoint,
            hessians: files.hessians,
            side_files: files.side_files,
            selection,
            fingerprint,
            folder,
            begun: AtomicBool::new(begun),
            record_is_kept: AtomicBool::new(false),
            inputs: OnceLock::new(),
            warnings: OnceLock::new(),
            recorded: OnceLock::new(),
            pool,
        })
    }

    /// Runs `body` in the job's own threads.
    pub fn install<R: Send>(&self, body: impl FnOnce() -> R + Send) -> R {
        match &self.pool {
            Some(pool) => pool.install(body),
            None => body(),
        }
    }

    /// Runs `body` on a layer's values in the job's own threads, and adds the name of the layer to an error.
    pub fn in_pool<R: Send>(
        &self,
        index: usize,
        body: impl FnOnce() -> Result<R, Error> + Send,
    ) -> Result<R, CheckpointError> {
        self.install(body).map_err(|error| self.in_layer(index, error))
    }

    /// All warnings: those that follow from the headers, and those that follow from the values.
    pub fn all_warnings(&self) -> impl Iterator<Item = &String> {
        self.selection.warnings.iter().chain(self.warnings.get().into_iter().flatten())
    }

    /// Passes a layer to `body`; the layer's tensors are mapped only during the call. Where the caller calibrates, the
    /// identity stands in for the Hessian, which nobody knows yet.
    pub fn with_layer<R>(
        &self,
        index: usize,
        body: impl FnOnce(&LoadedLayer<'_>) -> Result<R, CheckpointError>,
    ) -> Result<R, CheckpointError> {
        let selected = &self.selection.layers[index];
        let hessian = match (&self.hessians, &selected.hessian) {
            (Some(hessians), Some(name)) => {
                hessians.hessian(name, selected.slice, selected.options.objective == Objective::Full)?
            }
            _ => Hessian::identity(selected.cols),
        };
        self.with_layer_under(index, hessian, body)
    }

    /// Passes a layer with this Hessian to `body`; the layer's weight is mapped only during the call.
    pub fn with_layer_under<R>(
        &self,
        index: usize,
        hessian: Hessian,
        body: impl FnOnce(&LoadedLayer<'_>) -> Result<R, CheckpointError>,
    ) -> Result<R, CheckpointError> {
        self.checkpoint.with_layer(&self.selection.layers[index], hessian, body)
    }

    /// Reads the result of a layer.
    pub fn part(&self, index: usize) -> Result<LayerPart, CheckpointError> {
        let (path, bytes) = self.folder.get_layer(index)?;
        LayerPart::read(&bytes, self.selection.layers[index].stem(), self.fingerprint.digest())
            .map_err(|problem| file_error(&path, format!("{problem}; remove the file to have its layer done again")))
    }

    /// The digests of the inputs at the time when the job began, if any process has computed them.
    pub fn recorded(&self) -> Result<Option<&InputDigests>, CheckpointError> {
        if let Some(recorded) = self.recorded.get() {
            return Ok(Some(recorded));
        }
        let Some(text) = self.folder.read(INPUTS)? else { return Ok(self.inputs.get()) };
        let recorded = serde_json::from_str(&text).map_err(|error| file_error(&self.folder.path_of(INPUTS), error))?;
        Ok(Some(self.recorded.get_or_init(|| recorded)))
    }

    /// Adds the name of a layer to an error of its values.
    pub fn in_layer(&self, index: usize, source: Error) -> CheckpointError {
        let layer = &self.selection.layers[index];
        CheckpointError::InTensor { file: layer.file.clone(), tensor: layer.name.clone(), source }
    }
}

fn pool_of(threads: usize) -> Result<rayon::ThreadPool, Error> {
    let builder = rayon::ThreadPoolBuilder::new().num_threads(threads);
    builder.build().map_err(|error| Error::Threads { threads, reason: error.to_string() })
}
