//! The settings of a job, which are the keys of its JSON.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::error::{CheckpointError, setting_error};
use super::layer_override::Override;
use crate::bytes::json;
use crate::descent::options::Options;
use crate::error::Error;
use crate::factors::precision::FactorPrecision;
use crate::problem::correction::CorrectionOptions;
use crate::result::formats::format::Format;

/// Says what to compress, how, and where the output goes. `docs/checkpoints.md` describes every key of the JSON.
///
/// ```
/// use armor_core::checkpoint::JobSettings;
/// let json = br#"{"checkpoint": "model", "hessians": "h.safetensors", "out": "small", "block": 32}"#;
/// let settings = JobSettings::from_json(json)?;
/// assert_eq!(settings.options.left_block, 32);
/// assert_eq!(JobSettings::from_json(settings.to_json().as_bytes())?, settings);
/// # Ok::<(), armor_core::checkpoint::CheckpointError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct JobSettings {
    /// A safetensors file, or a folder of safetensors files.
    pub checkpoint: PathBuf,
    /// The Hessians: a safetensors file, or a folder of safetensors files. `None` where the caller calibrates: it passes
    /// what it knows of a layer's inputs with the call that runs the layer, [`super::Job::run_layer_on`].
    #[serde(default)]
    pub hessians: Option<PathBuf>,
    /// The output folder: new, empty, or that of the same job.
    pub out: PathBuf,
    /// Globs of the tensors to compress; an empty list selects every weight that has a Hessian. Where the caller calibrates,
    /// every tensor that a glob matches becomes a layer, and the list must not be empty.
    #[serde(default)]
    pub include: Vec<String>,
    /// Globs of the tensors to copy without compression.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Globs of the tensors that are stored as [inputs, outputs]. `None` where calibration has recorded it, or where there
    /// is no such tensor. Where the caller calibrates, `None` says that there is no such tensor.
    #[serde(default)]
    pub transposed: Option<Vec<String>>,
    /// What the names of Hessians start with instead of what the names of weights start with:
    /// `{"model.language_model.": "model."}`.
    #[serde(default)]
    pub rename: BTreeMap<String, String>,
    /// Which Hessian a weight without one of its own takes, by a component of the name: `k_proj` takes that of `q_proj`.
    #[serde(default)]
    pub alias: BTreeMap<String, String>,
    /// γ, the part of the correction for the inputs of the compressed model that is made of a layer which its caller
    /// calibrates on pairs, 0 to 1. `None` for 0.5. It does not apply where files have the Hessians.
    #[serde(default)]
    pub correction: Option<f64>,
    /// The ridge of that correction, relative to the mean of the diagonal of Ĥ, as
    /// [`CorrectionOptions::ridge`](field@CorrectionOptions::ridge). `None` for 0.01.
    #[serde(default)]
    pub correction_ridge: Option<f64>,
    /// The options of the layers' runs; in JSON each option has a key of the job's object.
    /// [`Options::threads`](field@Options::threads) is the number of worker threads of this process, 0 for one a core.
    #[serde(flatten)]
    pub options: Options,
    /// Other options for some tensors. Of two that change the same option of a tensor, the later one counts.
    #[serde(default)]
    pub overrides: Vec<Override>,
    /// The format of a compressed weight.
    #[serde(default = "default_format")]
    pub format: Format,
    /// The number types of the kept values and the wrappers; `None` for each weight's own type (f32 for f64).
    #[serde(default)]
    pub dtype: Option<FactorPrecision>,
    /// Whether `out` may hold a started job, which then continues.
    #[serde(default)]
    pub resume: bool,
    /// Whether [`super::Job::open`] reads every weight and Hessian of the layers that are not done, to refuse values that
    /// are not finite before any layer runs.
    #[serde(default = "default_check")]
    pub check_values: bool,
}

/// The setting `correction` where it is not given.
const STRENGTH: f64 = 0.5;

fn default_format() -> Format {
    Format::Factors
}

fn default_check() -> bool {
    true
}

impl JobSettings {
    /// Returns settings with these paths and every other field at its default.
    pub fn new(checkpoint: impl Into<PathBuf>, hessians: impl Into<PathBuf>, out: impl Into<PathBuf>) -> Self {
        JobSettings {
            checkpoint: checkpoint.into(),
            hessians: Some(hessians.into()),
            out: out.into(),
            include: Vec::new(),
            exclude: Vec::new(),
            transposed: None,
            rename: BTreeMap::new(),
            alias: BTreeMap::new(),
            correction: None,
            correction_ridge: None,
            options: Options::exact(),
            overrides: Vec::new(),
            format: default_format(),
            dtype: None,
            resume: false,
            check_values: default_check(),
        }
    }

    /// Returns settings of a job that its caller calibrates, layer by layer, with the globs of the tensors to compress and
    /// every other field at its default.
    pub fn calibrated_by_caller<T: Into<String>>(
        checkpoint: impl Into<PathBuf>,
        include: impl IntoIterator<Item = T>,
        out: impl Into<PathBuf>,
    ) -> Self {
        let include = include.into_iter().map(Into::into).collect();
        JobSettings { hessians: None, include, ..Self::new(checkpoint, "", out) }
    }

    /// Reads settings from a JSON object. The options are not checked against their ranges: [`super::Job::open`] does so.
    ///
    /// # Errors
    /// [`CheckpointError::Settings`] for text that is not a JSON object, for a missing path, for an unknown key, for a key
    /// that occurs twice, and for a value of the wrong type.
    pub fn from_json(json: &[u8]) -> Result<Self, CheckpointError> {
        json::read(json).map_err(|error| match with_key_of_option(json, error) {
            Error::Json { key, problem } => setting_error(&key, problem),
            other => other.into(),
        })
    }

    /// Writes every setting to a JSON object, which [`JobSettings::from_json`] reads. A character of a path that is not
    /// UTF-8 becomes U+FFFD.
    pub fn to_json(&self) -> String {
        format!("{:#}", Value::Object(self.keys()))
    }

    /// Checks the ranges of the options, that no path is empty, and that every setting applies.
    pub(super) fn check(&self) -> Result<(), CheckpointError> {
        self.options.validate()?;
        let paths =
            [("checkpoint", Some(&self.checkpoint)), ("hessians", self.hessians.as_ref()), ("out", Some(&self.out))];
        for (key, path) in paths {
            if path.is_some_and(|path| path.as_os_str().is_empty()) {
                return Err(setting_error(key, "is empty, expected a path"));
            }
        }
        match self.hessians {
            None => self.check_of_caller(),
            Some(_) => self.check_of_files(),
        }
    }

    /// Refuses settings that apply only where the caller calibrates.
    fn check_of_files(&self) -> Result<(), CheckpointError> {
        for (key, value) in [("correction", self.correction), ("correction_ridge", self.correction_ridge)] {
            if value.is_some() {
                let problem = "applies to layers that the caller calibrates on pairs, but \"hessians\" is given";
                return Err(setting_error(key, problem));
            }
        }
        Ok(())
    }

    /// How the weight of a layer that is calibrated on pairs is corrected.
    pub(super) fn correction_options(&self) -> CorrectionOptions {
        let strength = self.correction.unwrap_or(STRENGTH);
        CorrectionOptions { strength, ridge: self.correction_ridge.unwrap_or(CorrectionOptions::default().ridge) }
    }

    /// Refuses settings that a job without files of Hessians lacks, or cannot use.
    fn check_of_caller(&self) -> Result<(), CheckpointError> {
        if self.include.is_empty() {
            let problem = "is empty; without \"hessians\" the caller calibrates every layer, and \"include\" has to name \
                           the tensors to compress";
            return Err(setting_error("include", problem));
        }
        for (key, names) in [("rename", &self.rename), ("alias", &self.alias)] {
            if !names.is_empty() {
                let problem = "says where the Hessian of a weight is, but without \"hessians\" the caller calibrates every \
                               layer";
                return Err(setting_error(key, problem));
            }
        }
        self.correction_options().check().map_err(|error| match error {
            Error::Option { name, value, expected } => {
                let name = if name == "strength" { "correction" } else { "correction_ridge" };
                Error::Option { name, value, expected }.into()
            }
            other => other.into(),
        })
    }

    fn keys(&self) -> Map<String, Value> {
        let mut settings = self.clone();
        for path in [&mut settings.checkpoint, &mut settings.out].into_iter().chain(&mut settings.hessians) {
            *path = path.to_string_lossy().into_owned().into();
        }
        object(&settings)
    }

    /// All settings that decide the factors, apart from the inputs. `memory_limit` is one of them: the tiles of columns
    /// that it allows decide the order of sums.
    pub(super) fn decisive(&self) -> Map<String, Value> {
        let weighting = self.options.effective_row_weighting();
        let mut keys = object(&self.options.clone().row_weighting(weighting));
        keys.remove("threads");
        if self.hessians.is_none() {
            let CorrectionOptions { strength, ridge } = self.correction_options();
            keys.extend([("correction".to_owned(), strength.into()), ("correction_ridge".to_owned(), ridge.into())]);
        }
        keys
    }
}

pub(super) fn object(value: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(keys)) => keys,
        other => unreachable!("settings and options are objects of texts and numbers, not {other:?}"),
    }
}

/// Names the key of an option that was refused. Serde collects the options of a flattened struct before it reads them, so
/// its own error has no key.
fn with_key_of_option(json: &[u8], error: Error) -> Error {
    let Ok(Value::Object(mut keys)) = serde_json::from_slice(json) else { return error };
    let options = object(&Options::exact());
    let settings = object(&JobSettings::new("", "", ""));
    let known = || settings.keys().map(String::as_str).chain(["block", "preset"]);
    if let Some(key) = keys.keys().find(|&key| !known().any(|known| known == key)) {
        let known: Vec<&str> = known().collect();
        let problem = format!("unknown key, expected one of {}", known.join(", "));
        return Error::Json { key: key.clone(), problem };
    }
    keys.retain(|key, _| options.contains_key(key) || !settings.contains_key(key));
    json::read_keys::<Options>(keys).err().unwrap_or(error)
}
