//! `report.json`: what became of every tensor. It holds no times, so that equal jobs write equal bytes.

use std::io::ErrorKind;
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::calibration::{CallerReport, MeasuredLayer};
use super::context::JobContext;
use super::error::{CheckpointError, file_error, io_error};
use super::fingerprint::{Fingerprint, differing};
use super::folder::JobFolder;
use super::output_files::REPORT;
use super::overrides::differing_options;
use super::selected_tensor::SelectedTensor;
use super::settings::JobSettings;
use super::{digest, plan, shard};
use crate::bytes::reader::WRITER;
use crate::descent::options::Objective;
use crate::factors::precision::FactorPrecision;
use crate::result::factorization::Factorization;

/// What became of one tensor.
#[derive(Clone, Debug, Serialize)]
pub(super) struct LayerReport {
    pub name: String,
    /// The file of the output.
    pub file: String,
    pub hessian: Option<String>,
    pub rows: usize,
    pub cols: usize,
    pub transposed: bool,
    pub dtype: FactorPrecision,
    pub tokens: Option<u64>,
    /// Relative proxy loss of pruning alone, and of what is stored: the weight would have 0, zeros 1.
    pub nowag_p_loss: f64,
    pub loss: f64,
    /// The loss before values were rounded to the dtype.
    pub loss_in_f32: f64,
    /// The options that differ from those of the job.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub options: Map<String, Value>,
    pub iterations: usize,
    pub stop_reason: &'static str,
    /// Inputs that were zero on every calibration token; where these are all of them, the identity stood in for the
    /// Hessian.
    pub dead_inputs: usize,
    /// Numbers in both wrappers over entries of the weight.
    pub overhead: f64,
    pub bytes_before: usize,
    pub bytes_after: usize,
    /// What only a job has that its caller calibrates.
    #[serde(flatten)]
    pub of_caller: Option<CallerReport>,
    /// What a user should know of the result; the report lists the warnings of all layers together.
    #[serde(skip)]
    warnings: Vec<String>,
}

impl LayerReport {
    /// Of a result whose stored form has this loss and size, in a file of the output.
    pub fn new(
        (job, layer, file): (&JobContext, &SelectedTensor, &str),
        (result, loss, bytes_after): (&Factorization, f64, usize),
        measured: Option<MeasuredLayer>,
    ) -> Self {
        let (name, dtype, pruning) = (&layer.name, layer.dtype, result.nowag_p_loss());
        let is_rounded_above = loss > pruning && result.loss() <= pruning;
        let rounded = is_rounded_above.then(|| {
            format!("{name}: rounding to {dtype} raised the loss to {loss:.3e}, above pruning's {pruning:.3e}")
        });
        let few_tokens = measured.as_ref().and_then(|measured| job.warning_of_few_tokens(layer, measured.tokens));
        let warnings = [layer.warning_of_dead_inputs(result.dead_inputs()), few_tokens, rounded];
        LayerReport {
            name: layer.name.clone(),
            file: file.to_owned(),
            hessian: layer.hessian.clone(),
            rows: layer.rows,
            cols: layer.cols,
            transposed: layer.transposed,
            dtype: layer.dtype,
            tokens: measured.as_ref().map(|measured| measured.tokens).or(layer.tokens),
            nowag_p_loss: result.nowag_p_loss(),
            loss,
            loss_in_f32: result.loss(),
            options: differing_options(layer, &job.settings),
            iterations: result.iterations(),
            stop_reason: result.stop_reason().as_str(),
            dead_inputs: result.dead_inputs(),
            overhead: result.overhead(),
            bytes_before: layer.bytes,
            bytes_after,
            of_caller: measured.map(|measured| measured.report),
            warnings: warnings.into_iter().flatten().collect(),
        }
    }
}

impl JobContext {
    /// Says that a layer which the caller has calibrated has fewer tokens than inputs, where the objective needs more.
    fn warning_of_few_tokens(&self, layer: &SelectedTensor, tokens: u64) -> Option<String> {
        let is_short = layer.options.objective == Objective::Full && tokens < layer.cols as u64;
        is_short.then(|| format!("{}: has {tokens} calibration tokens and {} inputs", layer.name, layer.cols))
    }
}

/// A file with tensors that was written.
#[derive(Clone, Debug, Serialize)]
pub(super) struct FileReport {
    pub file: String,
    pub bytes: u64,
    pub sha256: String,
}

/// The report of a whole job.
pub(super) struct JobReport {
    job: String,
    settings: Value,
    decisions: Map<String, Value>,
    /// The warnings that follow from the headers.
    warnings: Vec<String>,
    pub layers: Vec<LayerReport>,
    pub files: Vec<FileReport>,
    /// Tensors that were copied, and their bytes.
    pub copied: usize,
    pub copied_bytes: u64,
}

/// All settings that the output depends on.
fn settings_of(settings: &JobSettings) -> Value {
    let mut all = settings.decisive();
    all.insert("format".to_owned(), json!(settings.format));
    all.insert("dtype".to_owned(), json!(settings.dtype));
    all.insert("overrides".to_owned(), json!(settings.overrides));
    all.into()
}

impl JobReport {
    pub fn new(job: &JobContext) -> Self {
        JobReport {
            job: job.fingerprint.digest().to_owned(),
            settings: settings_of(&job.settings),
            decisions: plan::decisions(job),
            warnings: job.selection.warnings.clone(),
            layers: Vec::new(),
            files: Vec::new(),
            copied: job.selection.copied.len(),
            copied_bytes: 0,
        }
    }

    /// Mean over all weights, each as heavy as it has entries.
    pub fn mean(&self, loss: impl Fn(&LayerReport) -> f64) -> f64 {
        let entries = |layer: &LayerReport| (layer.rows * layer.cols) as f64;
        let total: f64 = self.layers.iter().map(entries).sum();
        self.layers.iter().map(|layer| entries(layer) * loss(layer)).sum::<f64>() / total
    }

    /// Bytes of all compressed tensors, before and after.
    pub fn bytes(&self) -> (usize, usize) {
        self.layers.iter().fold((0, 0), |sum, layer| (sum.0 + layer.bytes_before, sum.1 + layer.bytes_after))
    }

    /// What the whole job is called in the summary: its settings, one a line.
    pub fn settings(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.settings.as_object().into_iter().flatten()
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let (before, after) = self.bytes();
        let results = self.layers.iter().flat_map(|layer| &layer.warnings);
        let keys = [
            ("writer", json!(WRITER)),
            ("job", json!(self.job)),
            ("settings", json!(self.settings)),
            (
                "total",
                json!({
                    "layers": self.layers.len(),
                    "mean_nowag_p_loss": self.mean(|layer| layer.nowag_p_loss),
                    "mean_loss": self.mean(|layer| layer.loss),
                    "bytes_before": before,
                    "bytes_after": after,
                    "copied_tensors": self.copied,
                    "copied_bytes": self.copied_bytes,
                }),
            ),
            ("files", json!(self.files)),
            ("layers", json!(self.layers)),
            ("warnings", self.warnings.iter().chain(results).cloned().collect()),
        ];
        let keys = keys.into_iter().map(|(key, value)| (key.to_owned(), value));
        let report: Map<String, Value> = self.decisions.clone().into_iter().chain(keys).collect();
        format!("{:#}\n", Value::Object(report))
    }
}

/// Checks that a folder without parts is the output of this very job, and that its shards are as long as they were.
pub(super) fn check_finished(
    settings: &JobSettings,
    fingerprint: &Fingerprint,
    folder: &JobFolder,
) -> Result<(), CheckpointError> {
    let report = read(settings)?.ok_or_else(|| folder.other("holds files, but no job"))?;
    if report["job"] != fingerprint.digest() {
        // Where files have the Hessians, format and dtype tell two jobs apart only by the tensors that they select.
        let difference = match settings.hessians {
            None => differing("settings", &settings_of(settings), &report["settings"]),
            Some(_) => None,
        };
        let difference = difference.map_or_else(String::new, |difference| format!(": {difference}"));
        return Err(folder.other(format!("holds another job, which is finished{difference}")));
    }
    if report["settings"] != settings_of(settings) {
        let (format, dtype) = (&report["settings"]["format"], &report["settings"]["dtype"]);
        let dtype = if dtype.is_null() { "of each weight".to_owned() } else { dtype.to_string() };
        return Err(folder.other(format!("holds this job, finished in format {format} and dtype {dtype}")));
    }
    check_files(settings, &report, |path, file| {
        let size = shard::regular(path)?;
        Ok((file["bytes"] != size).then(|| format!("has {size} bytes, not the {} that were written", file["bytes"])))
    })
}

/// Reads the shards of a finished job, and checks that nothing in them has changed.
pub(super) fn check_content(settings: &JobSettings) -> Result<(), CheckpointError> {
    let report = read(settings)?.unwrap_or_default();
    check_files(settings, &report, |path, file| {
        let changed = file["sha256"] != digest::of_file(path)?;
        Ok(changed.then(|| "has changed since it was written".to_owned()))
    })
}

fn read(settings: &JobSettings) -> Result<Option<Value>, CheckpointError> {
    let path = settings.out.join(REPORT);
    match std::fs::read(&path) {
        Ok(report) => serde_json::from_slice(&report).map_err(|error| file_error(&path, error)).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error(&path)(error)),
    }
}

/// Asks of every file of a report what is wrong with it.
fn check_files(
    settings: &JobSettings,
    report: &Value,
    problem: impl Fn(&Path, &Value) -> Result<Option<String>, CheckpointError>,
) -> Result<(), CheckpointError> {
    for file in report["files"].as_array().into_iter().flatten() {
        let path = settings.out.join(file["file"].as_str().unwrap_or_default());
        if let Some(problem) = problem(&path, file)? {
            return Err(file_error(
                &path,
                format!("{problem}; {REPORT} tells of a finished job: remove its folder to redo it"),
            ));
        }
    }
    Ok(())
}
