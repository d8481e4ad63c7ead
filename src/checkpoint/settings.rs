//! What a job is told: the keys of its JSON, which are the flags of the program too.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::bytes::keys::check_unique;
use crate::descent::options::{Objective, Options};
use crate::error::Error;
use crate::factors::pattern::Pattern;
use crate::factors::precision::Precision;
use crate::problem::proxy_loss::output_error::RowWeighting;
use crate::result::formats::Format;

/// What to compress, how, and where to. `docs/checkpoints.md` describes every key.
///
/// ```
/// use armor_core::checkpoint::Settings;
/// let settings = Settings::from_json(br#"{"checkpoint": "model", "hessians": "h.safetensors", "out": "small", "block": 32}"#)?;
/// assert!(settings.options()?.validate().is_ok());
/// # Ok::<(), armor_core::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// A safetensors file, or a folder of them.
    pub checkpoint: PathBuf,
    /// The Hessians: a safetensors file, or a folder of them.
    pub hessians: PathBuf,
    /// The output folder: new, empty, or that of the same job.
    pub out: PathBuf,
    /// Globs of the tensors to compress; none is every weight that has a Hessian.
    #[serde(default)]
    pub include: Vec<String>,
    /// Globs of tensors to leave as they are.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Whose Hessian a weight without one of its own takes, by a component of the name: `k_proj` that of `q_proj`.
    #[serde(default)]
    pub alias: BTreeMap<String, String>,
    /// Where the options start from.
    #[serde(default)]
    pub preset: Preset,
    /// Block sizes; the preset's if not given.
    #[serde(default)]
    pub block: Option<Block>,
    /// Sparsity pattern.
    #[serde(default, deserialize_with = "parsed")]
    pub pattern: Pattern,
    /// Most iterations of a layer; the preset's if not given.
    #[serde(default)]
    pub iterations: Option<usize>,
    /// Annealing temperature; the preset's if not given.
    #[serde(default)]
    pub temperature: Option<f64>,
    /// Which output error a layer's run minimises; [`Objective::Full`] needs whole Hessians.
    #[serde(default)]
    pub objective: ObjectiveName,
    /// How far the whole Hessian is drawn to its diagonal; the preset's if not given.
    #[serde(default)]
    pub shrinkage: Option<f64>,
    /// Which scales rows have; the objective's if not given.
    #[serde(default)]
    pub row_weighting: Option<RowWeightingName>,
    /// What a compressed weight is stored as.
    #[serde(default = "Settings::default_format", deserialize_with = "parsed")]
    pub format: Format,
    /// The type of values and wrappers.
    #[serde(default = "Settings::default_dtype", deserialize_with = "parsed")]
    pub dtype: Precision,
    /// Seed of every random choice.
    #[serde(default)]
    pub seed: u64,
    /// Worker threads of this process, 0 for one a core.
    #[serde(default)]
    pub threads: usize,
    /// Whether `out` may hold a started job, which is then gone on with.
    #[serde(default)]
    pub resume: bool,
    /// Whether [`super::Job::open`] reads every weight and Hessian that is still to do, to refuse values that are not
    /// finite before any work.
    #[serde(default = "Settings::default_check")]
    pub check_values: bool,
}

/// Which procedure the options start from.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Preset {
    /// [`Options::exact`].
    #[default]
    Exact,
    /// [`Options::paper`].
    Paper,
}

/// Which output error a run minimises: [`Objective`] by its name.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectiveName {
    /// [`Objective::Diagonal`].
    #[default]
    Diagonal,
    /// [`Objective::Full`].
    Full,
}

/// Which scales rows have: [`RowWeighting`] by its name.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RowWeightingName {
    /// [`RowWeighting::NoWag`].
    NoWag,
    /// [`RowWeighting::Uniform`].
    Uniform,
}

/// Block sizes of the wrappers.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged, expecting = "expected p or [p, q]")]
pub enum Block {
    /// The same for both.
    Both(usize),
    /// Left and right.
    Each(usize, usize),
}

fn parsed<'de, D: serde::Deserializer<'de>, T: std::str::FromStr<Err = Error>>(deserializer: D) -> Result<T, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(|error| match error {
        Error::Settings { problem } => serde::de::Error::custom(problem),
        other => serde::de::Error::custom(other),
    })
}

impl Settings {
    /// Settings with everything but the paths left out.
    pub fn new(checkpoint: impl Into<PathBuf>, hessians: impl Into<PathBuf>, out: impl Into<PathBuf>) -> Self {
        Settings {
            checkpoint: checkpoint.into(),
            hessians: hessians.into(),
            out: out.into(),
            include: Vec::new(),
            exclude: Vec::new(),
            alias: BTreeMap::new(),
            preset: Preset::Exact,
            block: None,
            pattern: Pattern::TWO_FOUR,
            iterations: None,
            temperature: None,
            objective: ObjectiveName::Diagonal,
            shrinkage: None,
            row_weighting: None,
            format: Self::default_format(),
            dtype: Self::default_dtype(),
            seed: 0,
            threads: 0,
            resume: false,
            check_values: true,
        }
    }

    /// Reads settings from JSON.
    ///
    /// # Errors
    /// [`Error::Settings`] where it is none, has an unknown key, a key twice, or a value of the wrong kind.
    pub fn from_json(json: &[u8]) -> Result<Self, Error> {
        check_unique(json).map_err(|error| Error::Settings { problem: error.to_string() })?;
        // Or an array would do, of all values in the order of their fields.
        if !json.trim_ascii_start().starts_with(b"{") {
            return Err(Error::Settings { problem: "expected a JSON object".to_owned() });
        }
        serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(json)).map_err(|error| {
            let (key, problem) = (error.path().to_string(), error.inner().to_string());
            // The problem may name the key itself; one of the whole object has none.
            let named = key == "." || problem.starts_with(&key) || problem.starts_with("unknown field");
            Error::Settings { problem: if named { problem } else { format!("{key}: {problem}") } }
        })
    }

    fn default_format() -> Format {
        Format::Factors
    }

    fn default_dtype() -> Precision {
        Precision::F16
    }

    fn default_check() -> bool {
        true
    }

    /// The options of every layer.
    ///
    /// # Errors
    /// [`Error::Option`] for the first one out of range.
    pub fn options(&self) -> Result<Options, Error> {
        let mut options = match self.preset {
            Preset::Exact => Options::exact(),
            Preset::Paper => Options::paper(),
        };
        options = match self.block {
            None => options,
            Some(Block::Both(size)) => options.block(size),
            Some(Block::Each(left, right)) => options.left_block(left).right_block(right),
        };
        if let Some(iterations) = self.iterations {
            options = options.iterations(iterations);
        }
        if let Some(tau) = self.temperature {
            options = options.temperature(tau);
        }
        if let Some(alpha) = self.shrinkage {
            options = options.shrinkage(alpha);
        }
        if let Some(weighting) = self.row_weighting {
            options = options.row_weighting(match weighting {
                RowWeightingName::NoWag => RowWeighting::NoWag,
                RowWeightingName::Uniform => RowWeighting::Uniform,
            });
        }
        options = options.objective(match self.objective {
            ObjectiveName::Diagonal => Objective::Diagonal,
            ObjectiveName::Full => Objective::Full,
        });
        let options = options.pattern(self.pattern).seed(self.seed);
        // Checked with the threads, run without: a job keeps one pool for all its layers.
        options.clone().threads(self.threads).validate()?;
        Ok(options)
    }

    /// Which scales rows have, also where it was left to the objective.
    fn weighting(&self) -> RowWeightingName {
        self.row_weighting.unwrap_or(match self.objective {
            ObjectiveName::Diagonal => RowWeightingName::NoWag,
            ObjectiveName::Full => RowWeightingName::Uniform,
        })
    }

    /// All that decides the factors, but for the inputs.
    pub(super) fn decisive(&self) -> Result<Value, Error> {
        let options = self.options()?;
        Ok(json!({
            "preset": self.preset,
            "block": [options.left_block, options.right_block],
            "pattern": self.pattern.to_string(),
            "iterations": options.iterations,
            "temperature": options.temperature,
            "objective": self.objective,
            "shrinkage": options.shrinkage,
            "row_weighting": self.weighting(),
            "seed": self.seed,
        }))
    }
}
