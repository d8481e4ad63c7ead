//! The JSON of options.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::{Method, Objective, Options};
use crate::factors::pattern::Pattern;
use crate::problem::proxy_loss::output_error::RowWeighting;

#[cfg(feature = "safetensors")]
impl Options {
    /// Reads options from a JSON object; the type's documentation describes its keys. The values are not checked against
    /// their ranges: [`Options::validate`] does so.
    ///
    /// ```
    /// use armor_core::Options;
    /// let options = Options::from_json(br#"{"preset": "paper", "block": [32, 64], "iterations": 500}"#)?;
    /// assert_eq!(options, Options::paper().left_block(32).right_block(64).iterations(500));
    /// # Ok::<(), armor_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Json`](crate::Error::Json) for text that is not a JSON object, for an unknown key, for a key that occurs
    /// twice, and for a value of the wrong type.
    pub fn from_json(json: &[u8]) -> Result<Self, crate::error::Error> {
        crate::bytes::json::read(json)
    }

    /// Writes every option to a JSON object, which [`Options::from_json`] reads. A number that is not finite, which
    /// [`Options::validate`] refuses, becomes `null`, which `from_json` refuses.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("options consist of numbers and words")
    }
}

impl<'de> Deserialize<'de> for Options {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        GivenOptions::deserialize(deserializer).map(Options::from)
    }
}

/// The preset that missing options are taken from.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Preset {
    #[default]
    Exact,
    Paper,
}

/// The sizes of both blocks in one value.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged, expecting = "expected p or [p, q]")]
enum BlockSizes {
    Both(usize),
    Each(usize, usize),
}

/// The keys that an object has; missing keys are `None`.
#[derive(Default, Deserialize)]
#[serde(rename = "Options", deny_unknown_fields, default)]
struct GivenOptions {
    preset: Preset,
    #[serde(deserialize_with = "given")]
    block: Option<BlockSizes>,
    #[serde(deserialize_with = "given")]
    method: Option<Method>,
    #[serde(deserialize_with = "given")]
    objective: Option<Objective>,
    #[serde(deserialize_with = "given")]
    shrinkage: Option<f64>,
    row_weighting: Option<RowWeighting>,
    memory_limit: Option<usize>,
    #[serde(deserialize_with = "given")]
    left_block: Option<usize>,
    #[serde(deserialize_with = "given")]
    right_block: Option<usize>,
    #[serde(deserialize_with = "given")]
    pattern: Option<Pattern>,
    #[serde(deserialize_with = "given")]
    iterations: Option<usize>,
    #[serde(deserialize_with = "seconds::deserialize")]
    time_budget: Option<Duration>,
    #[serde(deserialize_with = "given")]
    tolerance: Option<f64>,
    #[serde(deserialize_with = "given")]
    patience: Option<usize>,
    #[serde(deserialize_with = "given")]
    temperature: Option<f64>,
    #[serde(deserialize_with = "given")]
    max_extrapolation: Option<f64>,
    #[serde(deserialize_with = "given")]
    learning_rate: Option<f64>,
    #[serde(deserialize_with = "given")]
    seed: Option<u64>,
    #[serde(deserialize_with = "given")]
    threads: Option<usize>,
}

impl From<GivenOptions> for Options {
    fn from(given: GivenOptions) -> Self {
        let preset = match given.preset {
            Preset::Exact => Options::exact(),
            Preset::Paper => Options::paper(),
        };
        let (left_block, right_block) = match given.block {
            None => (preset.left_block, preset.right_block),
            Some(BlockSizes::Both(size)) => (size, size),
            Some(BlockSizes::Each(left, right)) => (left, right),
        };
        Options {
            method: given.method.unwrap_or(preset.method),
            objective: given.objective.unwrap_or(preset.objective),
            shrinkage: given.shrinkage.unwrap_or(preset.shrinkage),
            row_weighting: given.row_weighting.or(preset.row_weighting),
            memory_limit: given.memory_limit.or(preset.memory_limit),
            left_block: given.left_block.unwrap_or(left_block),
            right_block: given.right_block.unwrap_or(right_block),
            pattern: given.pattern.unwrap_or(preset.pattern),
            iterations: given.iterations.unwrap_or(preset.iterations),
            time_budget: given.time_budget.or(preset.time_budget),
            tolerance: given.tolerance.unwrap_or(preset.tolerance),
            patience: given.patience.unwrap_or(preset.patience),
            temperature: given.temperature.unwrap_or(preset.temperature),
            max_extrapolation: given.max_extrapolation.unwrap_or(preset.max_extrapolation),
            learning_rate: given.learning_rate.unwrap_or(preset.learning_rate),
            seed: given.seed.unwrap_or(preset.seed),
            threads: given.threads.unwrap_or(preset.threads),
        }
    }
}

/// Reads a value that is present, and refuses `null`.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A duration as a number of seconds, or `null`.
pub(super) mod seconds {
    use std::time::Duration;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::descent::options::positive_duration;

    pub fn serialize<S: Serializer>(budget: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        budget.map(|budget| budget.as_secs_f64()).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        match Option::<f64>::deserialize(deserializer)? {
            None => Ok(None),
            Some(seconds) if seconds < 0.0 => Err(D::Error::custom(format_args!("{seconds} s is below zero"))),
            Some(0.0) => Ok(Some(Duration::ZERO)),
            Some(seconds) => Ok(Some(positive_duration(seconds))),
        }
    }
}
