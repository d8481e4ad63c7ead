//! The fingerprint of a job: its inputs and options. Two jobs with the same fingerprint have the same factors, and may
//! share a folder.

use serde_json::{Value, json};

use super::digest;
use super::error::CheckpointError;
use super::selection::SelectedTensor;
use super::settings::JobSettings;
use super::source::Source;
use crate::bytes::reader::{WRITER, other_format};

/// Bytes of every tensor that are hashed. A model and its fine-tuned variants have the same headers, but their tensors
/// differ everywhere, so a few values distinguish them before [`super::input_digests`] compares all values.
const SAMPLE: usize = 4096;

/// The format of `job.json`. Records before format 2 have no such number.
const FORMAT: &str = "2";

/// The record of a job's inputs and options. Format, dtype and threads are not part of it: the results of layers do not
/// depend on them.
pub(super) struct Fingerprint {
    record: Value,
    digest: String,
}

impl Fingerprint {
    pub fn new(
        settings: &JobSettings,
        (checkpoint, hessians): (&Source, &Source),
        layers: &[SelectedTensor],
    ) -> Result<Self, CheckpointError> {
        let layers: Vec<_> = layers.iter().map(|layer| json!([layer.name, layer.hessian])).collect();
        Ok(Self::of(json!({
            "format": FORMAT,
            "writer": WRITER,
            "options": settings.decisive(),
            "checkpoint": files(checkpoint)?,
            "hessians": files(hessians)?,
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
        let format = other["format"].as_str().unwrap_or("1");
        if format != FORMAT {
            return Some(format!(
                "holds a job.json whose format {}",
                other_format(format, other["writer"].as_str(), FORMAT)
            ));
        }
        differing("", &self.record, &other).map(|difference| format!("holds another job: {difference}"))
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
fn differing(key: &str, ours: &Value, theirs: &Value) -> Option<String> {
    let within = |part: &str| if key.is_empty() { part.to_owned() } else { format!("{key}.{part}") };
    match (ours, theirs) {
        _ if ours == theirs => None,
        (Value::Object(ours), Value::Object(theirs)) => {
            let keys = ours.keys().chain(theirs.keys());
            let entry = |part: &String| {
                let null = Value::Null;
                differing(&within(part), ours.get(part).unwrap_or(&null), theirs.get(part).unwrap_or(&null))
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
        let ours = Fingerprint::of(json!({"options": {"seed": 1, "block": [64, 64]}, "layers": [["a", "b"]]}));
        let difference = |theirs: Value| ours.difference(&theirs.to_string());
        assert_eq!(difference(ours.record.clone()), None);
        let theirs = json!({"options": {"seed": 1, "block": [64, 32]}, "layers": [["a", "b"]]});
        assert_eq!(difference(theirs).as_deref(), Some("options.block.1 is 32 there, 64 here"));
        let theirs = json!({"options": {"seed": 1, "block": [64, 64]}, "layers": []});
        assert_eq!(difference(theirs).as_deref(), Some("layers has 0 entries there, 1 here"));
        let theirs = json!({"options": {"block": [64, 64]}, "layers": [["a", "b"]]});
        assert_eq!(difference(theirs).as_deref(), Some("options.seed is null there, 1 here"));
    }
}
