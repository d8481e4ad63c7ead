//! Which files of a folder hold the model: the same ones that `transformers` reads.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

use serde::Serialize;

use super::error::{CheckpointError, file_error, io_error};
use super::model_config::{ModelConfig, NAME as CONFIG, WEIGHTS};
use super::shard::Shard;
use super::shard_index::{INDEX, ShardIndex};
use super::tensor_names::is_hessian;

/// The file that holds a whole model, and the index of a model in several files.
const SINGLE: &str = "model.safetensors";
const MODEL_INDEX: &str = "model.safetensors.index.json";

/// The start of the names of files that hold the same model in its authors' own layout.
const ORIGINAL: &str = "consolidated";

/// A file that a job does not read or does not copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SkippedFile {
    /// The path of the file in its folder.
    pub file: String,
    /// Why it is skipped.
    pub reason: String,
}

impl SkippedFile {
    pub(super) fn new(file: impl Into<String>, reason: impl Into<String>) -> Self {
        SkippedFile { file: file.into(), reason: reason.into() }
    }
}

/// The files of a model, or of a set of Hessians.
pub(super) struct ModelFiles {
    pub shards: Vec<Shard>,
    pub index: Option<ShardIndex>,
    /// The other safetensors files and indices of the folder.
    pub skipped: Vec<SkippedFile>,
}

impl ModelFiles {
    /// Finds the files of a checkpoint: the file itself, or of a folder, in this order, `model.safetensors`, the shards of
    /// `model.safetensors.index.json`, the shards of the only other index, or all safetensors files. Without an index,
    /// files that hold Hessians and `consolidated*` beside other files do not belong to the model.
    ///
    /// Where the configuration names a file of weights, as `transformers` allows it to, that file comes before all others.
    pub fn of_checkpoint(path: &Path, config: Option<&ModelConfig>) -> Result<Self, CheckpointError> {
        if !path.is_dir() {
            return Self::single(path);
        }
        let names = safetensors_names(path)?;
        let has = |name: &str| names.iter().any(|found| found == name);
        if let Some(weights) = config.and_then(ModelConfig::weights) {
            return Self::named(path, &names, weights);
        }
        if has(SINGLE) {
            return Ok(Self::single(&path.join(SINGLE))?.skipping(&names, &format!("{SINGLE} is read instead")));
        }
        let indices: Vec<&String> = names.iter().filter(|name| name.ends_with(INDEX)).collect();
        let index = match indices[..] {
            [] => return Self::without_index(path, &names),
            [index] => index,
            _ if has(MODEL_INDEX) => MODEL_INDEX,
            _ => match indices.iter().filter(|name| !name.starts_with(ORIGINAL)).collect::<Vec<_>>()[..] {
                [index] => index,
                _ => {
                    let problem = format!("has two indices, {} and {}", indices[0], indices[1]);
                    return Err(file_error(path, problem));
                }
            },
        };
        Self::indexed(path, &names, index)
    }

    /// Finds the files with Hessians: the file itself, or all safetensors files of a folder that hold a Hessian.
    pub fn of_hessians(path: &Path) -> Result<Self, CheckpointError> {
        if !path.is_dir() {
            return Self::single(path);
        }
        let mut files = ModelFiles { shards: Vec::new(), index: None, skipped: Vec::new() };
        for name in safetensors_names(path)?.iter().filter(|name| !name.ends_with(INDEX)) {
            let shard = Shard::open(&path.join(name))?;
            match holds_hessians(&shard) {
                true => files.shards.push(shard),
                false => files.skipped.push(SkippedFile::new(name, "it holds no Hessian")),
            }
        }
        if files.shards.is_empty() {
            return Err(file_error(path, "has no safetensors file with a Hessian"));
        }
        Ok(files)
    }

    /// Finds the file, or the shards of the index, that the configuration names.
    fn named(folder: &Path, names: &[String], weights: &str) -> Result<Self, CheckpointError> {
        if !names.iter().any(|name| name == weights) {
            let problem = format!("{WEIGHTS} names {weights}, which is no safetensors file or index of this folder");
            return Err(file_error(&folder.join(CONFIG), problem));
        }
        if weights.ends_with(INDEX) {
            return Self::indexed(folder, names, weights);
        }
        let reason = format!("{CONFIG} names {weights} instead");
        Ok(Self::single(&folder.join(weights))?.skipping(names, &reason))
    }

    /// Finds the shards of an index.
    fn indexed(folder: &Path, names: &[String], index: &str) -> Result<Self, CheckpointError> {
        let index = ShardIndex::read(folder, index)?;
        let reason = format!("{} does not name it", index.name);
        let shards = index.files(folder)?.iter().map(|file| Shard::open(file)).collect::<Result<_, _>>()?;
        let files = ModelFiles { shards, index: Some(index), skipped: Vec::new() };
        Ok(files.skipping(names, &reason))
    }

    fn single(path: &Path) -> Result<Self, CheckpointError> {
        Ok(ModelFiles { shards: vec![Shard::open(path)?], index: None, skipped: Vec::new() })
    }

    fn without_index(folder: &Path, names: &[String]) -> Result<Self, CheckpointError> {
        let own = names.iter().any(|name| !name.starts_with(ORIGINAL));
        let mut files = ModelFiles { shards: Vec::new(), index: None, skipped: Vec::new() };
        for name in names {
            if own && name.starts_with(ORIGINAL) {
                files.skipped.push(SkippedFile::new(name, "the other files hold the same model"));
                continue;
            }
            let shard = Shard::open(&folder.join(name))?;
            match holds_hessians(&shard) {
                true => files.skipped.push(SkippedFile::new(name, "it holds Hessians")),
                false => files.shards.push(shard),
            }
        }
        if files.shards.is_empty() {
            return Err(file_error(folder, "has no safetensors file with weights"));
        }
        Ok(files)
    }

    /// Lists all other names as skipped.
    fn skipping(mut self, names: &[String], reason: &str) -> Self {
        let mut read: BTreeSet<String> = self.shards.iter().map(Shard::name).collect();
        read.extend(self.index.iter().map(|index| index.name.clone()));
        let others = names.iter().filter(|name| !read.contains(*name));
        self.skipped = others.map(|name| SkippedFile::new(name, reason)).collect();
        self
    }
}

/// The names of the safetensors files and of the indices of a folder, sorted.
fn safetensors_names(folder: &Path) -> Result<Vec<String>, CheckpointError> {
    let names = entries(folder)?.into_iter().map(|name| name.to_string_lossy().into_owned());
    Ok(names.filter(|name| name.ends_with(".safetensors") || name.ends_with(INDEX)).collect())
}

/// The names in a folder, sorted.
pub(super) fn entries(folder: &Path) -> Result<Vec<OsString>, CheckpointError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(io_error(folder))? {
        names.push(entry.map_err(io_error(folder))?.file_name());
    }
    names.sort();
    Ok(names)
}

/// Whether a file holds a Hessian.
fn holds_hessians(shard: &Shard) -> bool {
    shard.tensors().iter().any(|name| is_hessian(name))
}
