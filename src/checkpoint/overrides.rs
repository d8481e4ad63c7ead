//! Which options the layers of a job have: its own, and those that overrides change.

use serde_json::{Map, Value};

use super::error::{CheckpointError, setting_error};
use super::globs::Globs;
use super::layer_override::Override;
use super::selected_tensor::SelectedTensor;
use super::settings::{JobSettings, object};
use super::source::Source;
use crate::descent::options::Options;

/// The overrides of a job, whose globs are compiled.
pub(super) struct Overrides<'a> {
    settings: &'a JobSettings,
    globs: Vec<Globs>,
}

impl<'a> Overrides<'a> {
    /// Compiles the globs, and checks each override by itself.
    pub fn new(settings: &'a JobSettings, checkpoint: &Source) -> Result<Self, CheckpointError> {
        let check = |(index, change): (usize, &Override)| {
            let refuse = |part: &str, problem: String| Err(setting_error(&key(index, part), problem));
            if change.layers.is_empty() {
                return refuse("layers", "is empty, expected globs of tensors".to_owned());
            }
            if change.options.threads.is_some() {
                return refuse("options.threads", "is the number of threads of the whole job".to_owned());
            }
            if let Err(error) = change.options.over(&settings.options).check_ranges() {
                return refuse("options", error.to_string());
            }
            Globs::new(&key(index, "layers"), &change.layers, checkpoint)
        };
        let globs = settings.overrides.iter().enumerate().map(check).collect::<Result<_, _>>()?;
        Ok(Overrides { settings, globs })
    }

    /// The options of a tensor's layers: of two overrides that change the same option, the later one counts.
    pub fn options_of(&self, tensor: &str) -> Options {
        let matching = self.settings.overrides.iter().zip(&self.globs).filter(|(_, globs)| globs.is_match(tensor));
        // A job keeps one pool for all its layers.
        matching.fold(self.settings.options.clone().threads(0), |options, (change, _)| {
            change.options.over(&options).threads(0)
        })
    }

    /// Refuses an override of which no layer takes notice.
    pub fn check_used(&self, layers: &[SelectedTensor]) -> Result<(), CheckpointError> {
        let is_unused = |globs: &Globs| !layers.iter().any(|layer| globs.is_match(&layer.tensor));
        match self.globs.iter().position(is_unused) {
            Some(index) => Err(setting_error(&key(index, "layers"), "matches no tensor that is compressed")),
            None => Ok(()),
        }
    }
}

fn key(index: usize, part: &str) -> String {
    format!("overrides[{index}].{part}")
}

/// The options of a layer that differ from those of its job.
pub(super) fn differing_options(layer: &SelectedTensor, settings: &JobSettings) -> Map<String, Value> {
    let of_job = object(&settings.options);
    let is_changed = |(key, value): &(String, Value)| key != "threads" && of_job.get(key) != Some(value);
    object(&layer.options).into_iter().filter(is_changed).collect()
}
