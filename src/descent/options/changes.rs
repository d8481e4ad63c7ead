//! Changes of options: the options that an object of JSON names, over those of a preset or of a job.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::json_values::{given, seconds};
use super::{Method, Objective, Options};
use crate::factors::pattern::Pattern;
use crate::problem::proxy_loss::output_error::RowWeighting;

/// The preset that unnamed options are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Preset {
    Exact,
    Paper,
}

/// The sizes of both blocks in one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged, expecting = "expected p or [p, q]")]
pub(super) enum BlockSizes {
    Both(usize),
    Each(usize, usize),
}

/// Options to change: every field is that of [`Options`], and `None` leaves the option as it is.
///
/// In JSON the changes are an object with the keys of [`Options`], `preset` and `block` included; `preset` sets every option
/// that no other key names.
///
/// ```
/// use armor_core::{OptionChanges, Options};
/// let mut changes = OptionChanges::from_json(br#"{"block": 128}"#)?;
/// changes.iterations = Some(300);
/// assert_eq!(changes.over(&Options::exact().seed(7)), Options::exact().seed(7).block(128).iterations(300));
/// # Ok::<(), armor_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename = "Options", deny_unknown_fields, default)]
#[non_exhaustive]
pub struct OptionChanges {
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub(super) preset: Option<Preset>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub(super) block: Option<BlockSizes>,
    /// Changes [`Options::method`](field@Options::method).
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// Changes [`Options::objective`](field@Options::objective).
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub objective: Option<Objective>,
    /// Changes [`Options::shrinkage`](field@Options::shrinkage).
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub shrinkage: Option<f64>,
    /// Changes [`Options::row_weighting`](field@Options::row_weighting).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row_weighting: Option<RowWeighting>,
    /// Changes [`Options::memory_limit`](field@Options::memory_limit).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<usize>,
    /// Changes [`Options::left_block`](field@Options::left_block).
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub left_block: Option<usize>,
    /// Changes [`Options::right_block`](field@Options::right_block).
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub right_block: Option<usize>,
    /// Changes [`Options::pattern`](field@Options::pattern).
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub pattern: Option<Pattern>,
    /// Changes [`Options::iterations`](field@Options::iterations).
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub iterations: Option<usize>,
    /// Changes [`Options::time_budget`](field@Options::time_budget).
    #[serde(with = "seconds", skip_serializing_if = "Option::is_none")]
    pub time_budget: Option<Duration>,
    /// Changes [`Options::tolerance`](field@Options::tolerance).
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<f64>,
    /// Changes [`Options::patience`](field@Options::patience).
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    /// Changes [`Options::temperature`](field@Options::temperature).
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Changes [`Options::max_extrapolation`](field@Options::max_extrapolation).
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub max_extrapolation: Option<f64>,
    /// Changes [`Options::learning_rate`](field@Options::learning_rate).
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Changes [`Options::seed`](field@Options::seed).
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Changes [`Options::threads`](field@Options::threads).
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
}

impl OptionChanges {
    /// Returns the options with these changes.
    pub fn over(&self, options: &Options) -> Options {
        let base = match self.preset {
            None => options.clone(),
            Some(Preset::Exact) => Options::exact(),
            Some(Preset::Paper) => Options::paper(),
        };
        let (left_block, right_block) = match self.block {
            None => (base.left_block, base.right_block),
            Some(BlockSizes::Both(size)) => (size, size),
            Some(BlockSizes::Each(left, right)) => (left, right),
        };
        Options {
            method: self.method.unwrap_or(base.method),
            objective: self.objective.unwrap_or(base.objective),
            shrinkage: self.shrinkage.unwrap_or(base.shrinkage),
            row_weighting: self.row_weighting.or(base.row_weighting),
            memory_limit: self.memory_limit.or(base.memory_limit),
            left_block: self.left_block.unwrap_or(left_block),
            right_block: self.right_block.unwrap_or(right_block),
            pattern: self.pattern.unwrap_or(base.pattern),
            iterations: self.iterations.unwrap_or(base.iterations),
            time_budget: self.time_budget.or(base.time_budget),
            tolerance: self.tolerance.unwrap_or(base.tolerance),
            patience: self.patience.unwrap_or(base.patience),
            temperature: self.temperature.unwrap_or(base.temperature),
            max_extrapolation: self.max_extrapolation.unwrap_or(base.max_extrapolation),
            learning_rate: self.learning_rate.unwrap_or(base.learning_rate),
            seed: self.seed.unwrap_or(base.seed),
            threads: self.threads.unwrap_or(base.threads),
        }
    }
}
