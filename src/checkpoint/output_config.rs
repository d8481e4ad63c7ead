//! `config.json` of the output: it says in the ecosystem's own place, `quantization_config`, what the files are.

use serde_json::{Map, Value, json};

use super::context::JobContext;
use super::model_config::{ModelConfig, WEIGHTS};
use super::selected_tensor::SelectedTensor;
use crate::bytes::reader::{FORMAT, WRITER};
use crate::descent::options::Options;
use crate::result::formats::format::Format;

/// The key that describes how weights are stored.
const KEY: &str = "quantization_config";

/// Returns the text of the output's `config.json`; `None` where that of the input stays as it is: the format
/// `reconstructed` stores plain weights, so only the description of weights in FP8, which become plain, is left out.
///
/// In any other format the input's own description goes on to hold for the tensors that are copied; it becomes the entry
/// `base`.
pub(super) fn changed(job: &JobContext, config: &ModelConfig) -> Option<String> {
    let mut config = config.clone();
    let was_quantized = job.selection.layers.iter().any(|layer| layer.scale.is_some());
    if job.settings.format == Format::Reconstructed {
        config.keys.remove(KEY)?;
        return was_quantized.then(|| config.text());
    }
    let options = &job.settings.options;
    let mut description = json!({
        "quant_method": "armor",
        "writer": WRITER,
        "armor_format": FORMAT,
        "format": job.settings.format,
        "pattern": options.pattern.to_string(),
        "left_block": options.left_block,
        "right_block": options.right_block,
        "exceptions": exceptions(job),
        "dtype": job.settings.dtype,
        "tensors": compressed(job, |_| true),
        "transposed": compressed(job, |layer| layer.transposed),
    });
    if let Some(base) = config.keys.remove(KEY) {
        description["base"] = base;
    }
    config.keys.remove(WEIGHTS);
    config.keys.insert(KEY.to_owned(), description);
    Some(config.text())
}

/// Pattern and blocks of the tensors that have others than most.
fn exceptions(job: &JobContext) -> Map<String, Value> {
    let shape = |options: &Options| {
        let pattern = options.pattern.to_string();
        json!({"pattern": pattern, "left_block": options.left_block, "right_block": options.right_block})
    };
    let of_job = shape(&job.settings.options);
    let shapes = job.selection.layers.iter().map(|layer| (layer.tensor.clone(), shape(&layer.options)));
    shapes.filter(|(_, shape)| *shape != of_job).collect()
}

/// The names of the tensors that are compressed and have the property `has`.
fn compressed(job: &JobContext, has: impl Fn(&SelectedTensor) -> bool) -> Vec<&str> {
    let layers = job.selection.layers.iter().filter(|layer| has(layer));
    let mut names: Vec<&str> = layers.map(|layer| layer.tensor.as_str()).collect();
    names.dedup();
    names
}
