//! The fingerprint of a job: its inputs and options. Two jobs with the same fingerprint have the same factors, and may
//! share a folder.

use serde_json::{Value, json};

use super::digest;
use super::error::CheckpointError;
use super::overrides::differing_options;
use super::selected_tensor::SelectedTensor;
use super::settings::JobSettings;
use super::source::Source;
use crate::bytes::reader::{WRITER, other_format};

/// Bytes of every tensor that are hashed. A model and its fine-tuned variants have the same headers, but their tensors
/// differ everywhere, so a few values distinguish them before [`super::input_digests`] compares all values.
const SAMPLE: usize = 4096;

/// The format of `job.json`. Records before format 2 have no such number; format 3 adds the orientation of every weight,
/// format 4 jobs that their callers calibrate, format 5 the options of a layer that differ from those of the job.
const FORMAT: &str = "5";

/// The key of how the layers are stored, which counts where the caller calibrates.
const STORED: &str = "stored";

/// Why it counts.
const REASON: &str =
    "; a job that its caller calibrates measures every layer as it is stored, and keeps format and dtype";

/// The record of a job's inputs and options. Threads are not part of it, and neither are format and dtype where files have
/// the Hessians: the results of layers do not depend on them. Where the caller calibrates, a layer is measured when it runs,
/// as it is stored, so format and dtype are part of the record.
pub(super) struct Fingerprint {
    record: Value,
    digest: String,
}

impl Fingerprint {
    pub fn new(
        settings: &JobSettings,
        (checkpoint, hessians): (&Source, Option<&Source>),
        layers: &[SelectedTensor],
    ) -> Result<Self, CheckpointError> {
        let layers: Vec<_> = layers
            .iter()
            .map(|layer| json!([layer.name, layer.hessian_key(), layer.transposed, differing_options(layer, settings)]))
            .collect();
        Ok(Self::of(json!({
            "format": FORMAT,
            "writer": WRITER,
            "options": settings.decisive(),
            "checkpoint": files(checkpoint)?,
            "hessians": hessians.map(files).transpose()?,
            STORED: settings.hessians.is_none().then(|| json!({"format": settings.format, "dtype": settings.dtype})),
            "layers": layers,
        })))
    }

    fn of(record: Value) -> Self {
        Fingerprint { digest: digest::of([record.to_string().as_bytes()]), record }
    }

    /// The text of `job.json`.
    pub fn text(&self) -> String {
        format!("{:#}\n", self.record)
    }

    /// A hash of the record.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Says what the folder with another record holds; `None` if the records are equal.
    pub fn difference(&self, other: &str) -> Option<String> {
        let other: Value = match serde_json::from_str(other) {
            Ok(other) => other,
            Err(error) => return Some(format!("holds a job.json that is not the record of a job: {error}")),
        };
        let found = match other.get("format") {
            None => "1".to_owned(),
            Some(Value::String(format)) => format.clone(),
            Some(value) => value.to_string(),
        };
        if found != FORMAT {
            let problem = other_format(&found, other["writer"].as_str(), FORMAT);
            return Some(format!("holds a job.json whose format {problem}"));
        }
        let difference = differing("", &self.record, &other)?;
        let is_stored_otherwise = difference.starts_with(&format!("{STORED}."));
        let reason = if is_stored_otherwise { REASON } else { "" };
        Some(format!("holds another job: {difference}{reason}"))
    }
}

/// Names, lengths and hashes of a source's files.
fn files(source: &Source) -> Result<Vec<Value>, CheckpointError> {
    let mut files = Vec::new();
    for shard in &source.shards {
        let mut looked_at = shard.header().to_vec();
        for tensor in shard.tensors() {
            looked_at.extend(shard.first_bytes(&tensor, SAMPLE)?);
        }
        files.push(json!({"file": shard.name(), "bytes": shard.size(), "sha256": digest::of([looked_at.as_slice()])}));
    }
    Ok(files)
}

/// Describes the first entry in which two records differ.
pub(super) fn differing(key: &str, ours: &Value, theirs: &Value) -> Option<String> {
    let within = |part: &str| if key.is_empty() { part.to_owned() } else { format!("{key}.{part}") };
    match (ours, theirs) {
        _ if ours == theirs => None,
        (Value::Object(ours), Value::Object(theirs)) => {
            let keys = ours.keys().chain(theirs.keys());
            let entry = |part: &String| match (ours.get(part), theirs.get(part)) {
                (Some(ours), Some(theirs)) => differing(&within(part), ours, theirs),
                (ours, theirs) => {
                    let show = |value: Option<&Value>| value.map_or_else(|| "absent".to_owned(), Value::to_string);
                    Some(format!("{} is {} there, {} here", within(part), show(theirs), show(ours)))
                }
            };
            keys.into_iter().find_map(entry)
        }
        (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() => {
            let entries = ours.iter().zip(theirs).enumerate();
            entries.into_iter().find_map(|(index, (ours, theirs))| differing(&within(&index.to_string()), ours, theirs))
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            Some(format!("{key} has {} entries there, {} here", theirs.len(), ours.len()))
        }
        _ => Some(format!("{key} is {theirs} there, {ours} here")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named() {
        let record = |options: Value, layers: Value| json!({"format": FORMAT, "options": options, "layers": layers});
        let layers = json!([["a", "b"]]);
        let ours = Fingerprint::of(record(json!({"seed": 1, "block": [64, 64]}), layers.clone()));
        let difference = |options: Value, layers: &Value| ours.difference(&record(options, layers.clone()).to_string());
        assert_eq!(difference(json!({"seed": 1, "block": [64, 64]}), &layers), None);
        let found = difference(json!({"seed": 1, "block": [64, 32]}), &layers);
        assert_eq!(found.as_deref(), Some("holds another job: options.block.1 is 32 there, 64 here"));
        let found = difference(json!({"seed": 1, "block": [64, 64]}), &json!([]));
        assert_eq!(found.as_deref(), Some("holds another job: layers has 0 entries there, 1 here"));
        let found = difference(json!({"block": [64, 64]}), &layers);
        assert_eq!(found.as_deref(), Some("holds another job: options.seed is absent there, 1 here"));
    }
}
