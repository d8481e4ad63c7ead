//! How a job finds in its output folder what it has done before, and continues from there.

use std::sync::atomic::Ordering;

use super::context::JobContext;
use super::error::CheckpointError;
use super::fingerprint::Fingerprint;
use super::folder::{INPUTS, JobFolder, RECORD};
use super::output_files::REPORT;
use super::report;
use super::settings::JobSettings;

/// How far the job in an output folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobStage {
    /// The folder is empty or missing.
    New,
    /// The folder of parts is there; some layers may be done.
    Started,
    /// The output is there without a folder of parts.
    Finished,
}

impl JobStage {
    /// Finds the stage of the job in `folder`, and refuses to continue another job, or any job without
    /// [`JobSettings::resume`].
    pub fn of(
        folder: &JobFolder,
        settings: &JobSettings,
        fingerprint: &Fingerprint,
    ) -> Result<JobStage, CheckpointError> {
        let stage = Self::found(folder, fingerprint)?;
        let what = match stage {
            JobStage::New => return Ok(stage),
            JobStage::Started => "an unfinished job",
            JobStage::Finished => "files",
        };
        if !settings.resume {
            return Err(folder.other(format!("holds {what} already: choose another folder, or resume")));
        }
        if stage == JobStage::Finished {
            report::check_finished(settings, fingerprint, folder)?;
        }
        Ok(stage)
    }

    fn found(folder: &JobFolder, fingerprint: &Fingerprint) -> Result<JobStage, CheckpointError> {
        if !folder.has_no_parts() {
            if let Some(record) = folder.read(RECORD)? {
                check_record(folder, fingerprint, &record)?;
            }
            return Ok(JobStage::Started);
        }
        Ok(match folder.content()? {
            // Another process has begun the job since the check above.
            Some(content) if content.parts => JobStage::Started,
            Some(content) if content.other => JobStage::Finished,
            _ => JobStage::New,
        })
    }
}

fn check_record(folder: &JobFolder, fingerprint: &Fingerprint, record: &str) -> Result<(), CheckpointError> {
    match fingerprint.difference(record) {
        None => Ok(()),
        Some(difference) => Err(folder.other(difference)),
    }
}

impl JobContext {
    /// Whether the whole job is finished, by any process.
    pub fn is_finished(&self) -> bool {
        self.folder.has_no_parts() && self.settings.out.join(REPORT).exists()
    }

    /// Whether layer `index` is finished, by any process.
    pub fn is_done(&self, index: usize) -> bool {
        // In this order: the parts disappear between the two checks only when the job is finished.
        self.folder.has_layer(index) || self.is_finished()
    }

    /// Prepares the folder for a layer, and says whether the layer is needed: it is not if another process has finished
    /// the job.
    pub fn begin(&self) -> Result<bool, CheckpointError> {
        if self.folder.has_no_parts() {
            if self.is_finished() {
                return Ok(false);
            }
            if self.begun.load(Ordering::Relaxed) {
                return Err(self.lost());
            }
        }
        match self.keep_record_once().and_then(|()| self.keep_inputs()) {
            Err(_) if self.is_finished() => return Ok(false),
            result => result?,
        }
        self.begun.store(true, Ordering::Relaxed);
        Ok(true)
    }

    fn keep_record_once(&self) -> Result<(), CheckpointError> {
        if !self.record_is_kept.load(Ordering::Relaxed) {
            self.keep_record()?;
            self.record_is_kept.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Writes the fingerprint unless it is there; refuses that of another job. Several processes may do so at once: the
    /// first one counts.
    pub fn keep_record(&self) -> Result<(), CheckpointError> {
        if !self.folder.has_text(RECORD) {
            self.folder.make()?;
            self.folder.put_first(RECORD, &self.fingerprint.text())?;
        }
        check_record(&self.folder, &self.fingerprint, &self.folder.read(RECORD)?.unwrap_or_default())
    }

    /// Writes the digests of the inputs, if this process has computed them, unless they are there.
    pub fn keep_inputs(&self) -> Result<(), CheckpointError> {
        match self.inputs.get() {
            Some(inputs) if !self.folder.has_text(INPUTS) => self.folder.put_first(INPUTS, &inputs.text()),
            _ => Ok(()),
        }
    }

    /// Keeps the file of a finished layer, unless another process has finished the whole job.
    pub fn keep_layer(&self, index: usize, bytes: &[u8]) -> Result<(), CheckpointError> {
        match self.folder.put_layer(index, bytes) {
            Err(_) if self.is_finished() => Ok(()),
            Err(_) if self.folder.has_no_parts() => Err(self.lost()),
            result => result,
        }
    }

    /// The error of a job whose folder was removed while the job was open.
    pub fn lost(&self) -> CheckpointError {
        self.folder.other("no longer holds this job: the folder was removed while the job was open")
    }
}
