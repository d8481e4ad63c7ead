//! The digests of all input tensors at the time when the job began, kept in `OUT/.parts/inputs.json`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::Deserialize;
use serde_json::json;

use super::error::CheckpointError;
use super::source::{LayerDigests, Source};

/// Which of the inputs holds a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InputKind {
    Checkpoint,
    Hessian,
}

/// Digests by tensor.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct InputDigests {
    /// Of every tensor of the checkpoint: its bytes.
    checkpoint: BTreeMap<String, String>,
    /// Of every Hessian that is used: the values that the objective reads.
    hessians: BTreeMap<String, String>,
}

impl InputDigests {
    /// Adds the digests of a layer's weight and Hessian.
    pub fn add(&mut self, (weight, hessian): (&str, &str), digests: LayerDigests) {
        self.checkpoint.insert(weight.to_owned(), digests.weight);
        self.hessians.insert(hessian.to_owned(), digests.hessian);
    }

    /// Adds the tensors that are copied: all of the checkpoint that are not there yet.
    pub fn add_copied(&mut self, checkpoint: &Source) -> Result<(), CheckpointError> {
        for shard in &checkpoint.shards {
            for tensor in shard.tensors() {
                if let Entry::Vacant(place) = self.checkpoint.entry(tensor) {
                    let digest = shard.read(place.key(), |_| Ok(()))?;
                    place.insert(digest);
                }
            }
        }
        Ok(())
    }

    /// The text of `inputs.json`.
    pub fn text(&self) -> String {
        format!("{:#}\n", json!({"checkpoint": self.checkpoint, "hessians": self.hessians}))
    }

    /// The digest of a tensor, if it was taken.
    pub fn get(&self, kind: InputKind, tensor: &str) -> Option<&String> {
        match kind {
            InputKind::Checkpoint => self.checkpoint.get(tensor),
            InputKind::Hessian => self.hessians.get(tensor),
        }
    }

    /// Every tensor with its digest, those of the checkpoint first.
    pub fn iter(&self) -> impl Iterator<Item = (InputKind, &String, &String)> {
        let checkpoint = self.checkpoint.iter().map(|(name, digest)| (InputKind::Checkpoint, name, digest));
        checkpoint.chain(self.hessians.iter().map(|(name, digest)| (InputKind::Hessian, name, digest)))
    }
}
