//! The tensors of the output by name, which must not meet.

use std::collections::{BTreeMap, BTreeSet};

use super::in_tensor;
use super::selection::Selected;
use super::source::Source;
use crate::error::Error;
use crate::result::formats;
use crate::result::formats::Format;

/// The tensors that a layer becomes.
fn names(layer: &Selected, format: Format) -> Vec<String> {
    match format {
        Format::Reconstructed => vec![layer.name.clone()],
        _ => formats::names(layer.stem(), format),
    }
}

/// Refuses layers that would become a tensor which is copied, or which another layer becomes.
pub(super) fn check(checkpoint: &Source, layers: &[Selected], format: Format) -> Result<(), Error> {
    let selected: BTreeSet<&str> = layers.iter().map(|layer| layer.name.as_str()).collect();
    let copied = checkpoint.tensors().filter(|name| !selected.contains(name));
    let mut taken: BTreeMap<String, &str> = copied.map(|name| (name.to_owned(), name)).collect();
    for layer in layers {
        for name in names(layer, format) {
            if let Some(other) = taken.insert(name.clone(), &layer.name) {
                let problem = match other == name {
                    true => format!("would become {name}, which the checkpoint has already"),
                    false => format!("would become {name}, and so would {other}"),
                };
                return Err(in_tensor(&layer.file, &layer.name, problem));
            }
        }
    }
    Ok(())
}
