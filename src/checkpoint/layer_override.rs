//! Other options for some layers of a job, as its settings name them.

use serde::{Deserialize, Serialize};

use crate::descent::options::changes::OptionChanges;

/// Other options for some layers of a job: changes of [`JobSettings::options`](field@super::JobSettings::options).
///
/// ```
/// use armor_core::checkpoint::{JobSettings, Override};
/// use armor_core::OptionChanges;
/// let mut settings = JobSettings::new("model", "hessians.safetensors", "small");
/// let changes = OptionChanges::from_json(br#"{"block": 128}"#)?;
/// settings.overrides.push(Override::new(["model.layers.{0..3}.*", "*.down_proj.weight"], changes));
/// # Ok::<(), armor_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Override {
    /// Globs of the tensors.
    pub layers: Vec<String>,
    /// What changes; [`OptionChanges::threads`] must be `None`.
    pub options: OptionChanges,
}

impl Override {
    /// Changes the options of the tensors that a glob matches.
    pub fn new<T: Into<String>>(layers: impl IntoIterator<Item = T>, options: OptionChanges) -> Self {
        Override { layers: layers.into_iter().map(Into::into).collect(), options }
    }
}
