//! What the tensors of a job held when it was begun: their digests, kept in `OUT/.parts/inputs.json`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::Deserialize;
use serde_json::json;

use super::source::{Digests, Source};
use crate::error::Error;

/// Where a tensor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Checkpoint,
    Hessian,
}

/// Digests by tensor.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Inputs {
    /// Of every tensor of the checkpoint: its bytes.
    checkpoint: BTreeMap<String, String>,
    /// Of every Hessian that is used: the values that the objective reads.
    hessians: BTreeMap<String, String>,
}

impl Inputs {
    /// Adds what a layer is made from.
    pub fn add(&mut self, (weight, hessian): (&str, &str), digests: Digests) {
        self.checkpoint.insert(weight.to_owned(), digests.weight);
        self.hessians.insert(hessian.to_owned(), digests.hessian);
    }

    /// Adds the tensors that are copied: all of the checkpoint that are not there yet.
    pub fn add_copied(&mut self, checkpoint: &Source) -> Result<(), Error> {
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

    /// The record as it is kept.
    pub fn text(&self) -> String {
        format!("{:#}\n", json!({"checkpoint": self.checkpoint, "hessians": self.hessians}))
    }

    /// The digest of a tensor, if it was taken.
    pub fn get(&self, kind: Kind, tensor: &str) -> Option<&String> {
        match kind {
            Kind::Checkpoint => self.checkpoint.get(tensor),
            Kind::Hessian => self.hessians.get(tensor),
        }
    }

    /// Every tensor with its digest, those of the checkpoint first.
    pub fn iter(&self) -> impl Iterator<Item = (Kind, &String, &String)> {
        let checkpoint = self.checkpoint.iter().map(|(name, digest)| (Kind::Checkpoint, name, digest));
        checkpoint.chain(self.hessians.iter().map(|(name, digest)| (Kind::Hessian, name, digest)))
    }
}
