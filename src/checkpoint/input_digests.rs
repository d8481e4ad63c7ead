//! The digests of all input tensors at the time when the job began, kept in `OUT/.parts/inputs.json`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::error::CheckpointError;
use super::selected_tensor::SelectedTensor;
use super::selection::CopiedTensor;
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
    /// Of every tensor that is copied, and of the weight of every layer: the bytes.
    checkpoint: BTreeMap<String, String>,
    /// Of the Hessian of every layer: the values that the objective reads. None where the caller calibrates.
    hessians: BTreeMap<String, String>,
}

impl InputDigests {
    /// Adds the digests of a layer's weight and of its Hessian, if a file has it.
    pub fn add(&mut self, layer: &SelectedTensor, digests: LayerDigests) {
        self.checkpoint.insert(layer.name.clone(), digests.weight);
        if let Some(hessian) = layer.hessian_key() {
            self.hessians.insert(hessian, digests.calibration);
        }
    }

    /// Adds the tensors that are copied.
    pub fn add_copied(&mut self, checkpoint: &Source, copied: &[CopiedTensor]) -> Result<(), CheckpointError> {
        for tensor in copied {
            let shard = checkpoint.shard(&tensor.name).expect("the name comes from the source");
            self.checkpoint.insert(tensor.name.clone(), shard.read(&tensor.name, |_| Ok(()))?);
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
