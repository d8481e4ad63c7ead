//! The index of a sharded checkpoint: the file that says which tensor is in which shard.

use std::fs;
use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value, json};

use super::error::{CheckpointError, file_error, io_error};
use super::shard::regular;
use crate::bytes::keys::check_unique;

/// The end of the name of every index.
pub(super) const INDEX: &str = ".safetensors.index.json";

/// An index that was read.
pub(super) struct ShardIndex {
    /// The name of the file.
    pub name: String,
    content: Map<String, Value>,
}

impl ShardIndex {
    /// Reads the index `name` of a folder.
    pub fn read(folder: &Path, name: &str) -> Result<Self, CheckpointError> {
        let path = folder.join(name);
        regular(&path)?;
        let text = fs::read(&path).map_err(io_error(&path))?;
        check_unique(&text).map_err(|error| file_error(&path, error))?;
        let content = serde_json::from_slice(&text).map_err(|error| file_error(&path, error))?;
        Ok(ShardIndex { name: name.to_owned(), content })
    }

    /// Returns every tensor with the name of its file.
    pub fn weight_map<'a>(&'a self, folder: &Path) -> Result<Vec<(&'a str, &'a str)>, CheckpointError> {
        let refuse = |problem| file_error(&folder.join(&self.name), problem);
        let map = self.content.get("weight_map").and_then(Value::as_object);
        let map = map.ok_or_else(|| refuse("has no object weight_map".to_owned()))?;
        map.iter()
            .map(|(tensor, file)| {
                let file = file.as_str().filter(|file| is_shard_name(file));
                let problem = || format!("weight_map: {tensor}: is not the name of a safetensors file in this folder");
                Ok((tensor.as_str(), file.ok_or_else(|| refuse(problem()))?))
            })
            .collect()
    }

    /// Returns the paths of the shards, sorted.
    pub fn files(&self, folder: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
        let mut files: Vec<&str> = self.weight_map(folder)?.into_iter().map(|(_, file)| file).collect();
        files.sort_unstable();
        files.dedup();
        for pair in files.windows(2) {
            if pair[0].eq_ignore_ascii_case(pair[1]) {
                let problem = format!("names {} and {}, which differ in case only", pair[0], pair[1]);
                return Err(file_error(&folder.join(&self.name), problem));
            }
        }
        Ok(files.into_iter().map(|file| folder.join(file)).collect())
    }

    /// Writes the index of a changed checkpoint: `total_size` is the number of bytes of all tensors, and
    /// `total_parameters` is kept only where the tensors still hold as many parameters.
    pub fn rewritten(&self, weight_map: Map<String, Value>, total_size: usize, keeps_parameters: bool) -> String {
        let mut content = self.content.clone();
        content.insert("weight_map".to_owned(), Value::Object(weight_map));
        if let Some(metadata) = content.entry("metadata").or_insert_with(|| json!({})).as_object_mut() {
            metadata.insert("total_size".to_owned(), json!(total_size));
            if !keeps_parameters {
                metadata.remove("total_parameters");
            }
        }
        format!("{:#}\n", Value::Object(content))
    }
}

/// Whether a text is the name of a safetensors file, without a folder.
fn is_shard_name(text: &str) -> bool {
    let mut components = Path::new(text).components();
    let one = matches!((components.next(), components.next()), (Some(Component::Normal(name)), None) if name == text);
    one && text.ends_with(".safetensors") && !text.contains(['/', '\\', ':'])
}
