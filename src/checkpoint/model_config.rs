//! `config.json` of the output: it says in the ecosystem's own place, `quantization_config`, what the files are.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::context::JobContext;
use super::error::{CheckpointError, file_error};
use super::selected_tensor::SelectedTensor;
use crate::bytes::reader::{FORMAT, WRITER};
use crate::result::formats::format::Format;

/// The file's name.
pub(super) const NAME: &str = "config.json";

/// The key that describes how weights are stored.
const KEY: &str = "quantization_config";

/// Returns the text of the output's `config.json` for that of the input. The format `reconstructed` stores plain weights:
/// it leaves the text as it is, but for the description of weights in FP8, which become plain. The input's own description goes on to hold for the tensors that are copied; it becomes
/// the entry `base`.
pub(super) fn rewritten(job: &JobContext, path: &Path, text: &[u8]) -> Result<Vec<u8>, CheckpointError> {
    let was_quantized = job.selection.layers.iter().any(|layer| layer.scale.is_some());
    if job.settings.format == Format::Reconstructed && !was_quantized {
        return Ok(text.to_vec());
    }
    let mut config: Map<String, Value> = serde_json::from_slice(text).map_err(|error| file_error(path, error))?;
    if job.settings.format == Format::Reconstructed {
        config.remove(KEY);
        return Ok(format!("{:#}\n", Value::Object(config)).into_bytes());
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
        "dtype": job.settings.dtype,
        "tensors": compressed(job, |_| true),
        "transposed": compressed(job, |layer| layer.transposed),
    });
    if let Some(base) = config.remove(KEY) {
        description["base"] = base;
    }
    config.insert(KEY.to_owned(), description);
    Ok(format!("{:#}\n", Value::Object(config)).into_bytes())
}

/// The names of the tensors that are compressed and have the property `has`.
fn compressed(job: &JobContext, has: impl Fn(&SelectedTensor) -> bool) -> Vec<&str> {
    let layers = job.selection.layers.iter().filter(|layer| has(layer));
    let mut names: Vec<&str> = layers.map(|layer| layer.tensor.as_str()).collect();
    names.dedup();
    names
}
