//! A checkpoint as it is found: one safetensors file, or a folder of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use ndarray::{ArrayView1, ArrayView2};
use safetensors::Dtype;
use serde_json::Value;

use super::digest;
use super::error::{CheckpointError, file_error, io_error, tensor_error};
use super::shard::{MappedTensor, Shard, regular};
use crate::bytes::keys::check_unique;
use crate::error::Error;
use crate::input::hessian::Hessian;
use crate::input::layer::Layer;
use crate::input::weight::Weight;

/// How the index of a sharded checkpoint ends.
const INDEX: &str = ".safetensors.index.json";

/// Tensors by name, wherever they stand.
pub(super) struct Source {
    path: PathBuf,
    pub shards: Vec<Shard>,
    /// The shard of every tensor.
    tensors: BTreeMap<String, usize>,
    pub index: Option<ShardIndex>,
}

/// The file that says which tensor is in which shard.
pub(super) struct ShardIndex {
    pub name: String,
    /// Its content.
    pub content: serde_json::Map<String, Value>,
}

/// A layer whose weight is in memory.
pub(super) struct LoadedLayer<'a> {
    pub layer: Layer<'a>,
    weight: &'a MappedTensor,
}

/// What a layer is made from, by digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LayerDigests {
    /// Of the weight's bytes.
    pub weight: String,
    /// Of the Hessian's values that the objective reads: its diagonal, or all.
    pub hessian: String,
}

impl LoadedLayer<'_> {
    /// Hashes weight and Hessian.
    pub fn digests(&self) -> LayerDigests {
        let hessian = self.layer.hessian();
        let diagonal: &[u8] = bytemuck::cast_slice(hessian.diagonal());
        let rows = (0..hessian.len()).filter_map(|row| hessian.row(row)).map(bytemuck::cast_slice);
        LayerDigests {
            weight: digest::of([self.weight.bytes()]),
            hessian: digest::of([diagonal].into_iter().chain(rows)),
        }
    }
}

impl Source {
    /// Opens a file, or a folder: the shards of its index, or else all its safetensors files.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let (files, index) = if path.is_dir() { Self::files(path)? } else { (vec![path.to_owned()], None) };
        let shards = files.iter().map(|file| Shard::open(file)).collect::<Result<Vec<_>, _>>()?;
        let mut tensors: BTreeMap<String, usize> = BTreeMap::new();
        for (number, shard) in shards.iter().enumerate() {
            for tensor in shard.tensors() {
                if let Some(other) = tensors.insert(tensor.clone(), number) {
                    let problem = format!("is in {} too", shards[other].name());
                    return Err(tensor_error(&shard.name(), &tensor, problem));
                }
            }
        }
        let source = Source { path: path.to_owned(), shards, tensors, index };
        source.check_index()?;
        Ok(source)
    }

    fn files(folder: &Path) -> Result<(Vec<PathBuf>, Option<ShardIndex>), CheckpointError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).map_err(io_error(folder))? {
            names.push(entry.map_err(io_error(folder))?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        let indices: Vec<&String> = names.iter().filter(|name| name.ends_with(INDEX)).collect();
        match indices[..] {
            [] => {
                let files: Vec<_> = names.iter().filter(|name| name.ends_with(".safetensors")).collect();
                if files.is_empty() {
                    return Err(file_error(folder, "has no safetensors file"));
                }
                Ok((files.into_iter().map(|name| folder.join(name)).collect(), None))
            }
            [name] => {
                let index = ShardIndex::read(folder, name)?;
                let files = index.files(folder)?;
                Ok((files, Some(index)))
            }
            [first, second, ..] => Err(file_error(folder, format!("has two indices, {first} and {second}"))),
        }
    }

    /// Checks that every tensor of the index is where it says.
    fn check_index(&self) -> Result<(), CheckpointError> {
        let Some(index) = &self.index else { return Ok(()) };
        for (tensor, file) in index.weight_map(&self.path)? {
            match self.shard(tensor) {
                None => return Err(tensor_error(file, tensor, format!("is missing, but {} tells of it", index.name))),
                Some(shard) if shard.name() != file => {
                    return Err(tensor_error(file, tensor, format!("is in {} instead", shard.name())));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Where it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of all tensors, sorted.
    pub fn tensors(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The shard with this tensor.
    pub fn shard(&self, tensor: &str) -> Option<&Shard> {
        self.tensors.get(tensor).map(|&number| &self.shards[number])
    }

    fn tensor(&self, tensor: &str) -> Result<(&Shard, MappedTensor), CheckpointError> {
        let shard =
            self.shard(tensor).ok_or_else(|| tensor_error(&self.path.to_string_lossy(), tensor, "no such tensor"))?;
        Ok((shard, shard.tensor(tensor)?))
    }

    /// Hands the layer of a weight to `body`. Both tensors are mapped only meanwhile.
    pub fn with_layer<R>(
        &self,
        weight: &str,
        hessian: Hessian,
        body: impl FnOnce(&LoadedLayer<'_>) -> Result<R, CheckpointError>,
    ) -> Result<R, CheckpointError> {
        let (shard, tensor) = self.tensor(weight)?;
        let layer = view(&tensor).and_then(|weight| Layer::new(weight, hessian));
        let layer = layer.map_err(|error| refused(shard, weight, error))?;
        body(&LoadedLayer { layer, weight: &tensor })
    }

    /// Reads a Hessian: a diagonal of one axis, or of two, of which `whole` keeps all and not the diagonal alone.
    pub fn hessian(&self, name: &str, whole: bool) -> Result<Hessian, CheckpointError> {
        let (shard, tensor) = self.tensor(name)?;
        let hessian = match tensor.dtype {
            Dtype::F32 => hessian::<f32>(&tensor, whole),
            Dtype::F64 => hessian::<f64>(&tensor, whole),
            Dtype::F16 => hessian::<f16>(&tensor, whole),
            Dtype::BF16 => hessian::<bf16>(&tensor, whole),
            other => unreachable!("{other:?} was refused when the job was opened"),
        };
        hessian.map_err(|error| refused(shard, name, error))
    }
}

fn refused(shard: &Shard, tensor: &str, source: Error) -> CheckpointError {
    CheckpointError::InTensor { file: shard.name(), tensor: tensor.to_owned(), source }
}

/// Whether weights and Hessians may be of this type.
pub(super) fn is_number(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F64 | Dtype::F16 | Dtype::BF16)
}

/// Views a weight of two axes.
fn view(tensor: &MappedTensor) -> Result<Weight<'_>, Error> {
    fn matrix<'a, T: crate::input::weight::Element + bytemuck::Pod>(tensor: &'a MappedTensor) -> Weight<'a> {
        let shape = (tensor.shape[0], tensor.shape[1]);
        ArrayView2::from_shape(shape, tensor.values::<T>()).expect("the header was checked").into()
    }
    Ok(match tensor.dtype {
        Dtype::F32 => matrix::<f32>(tensor),
        Dtype::F64 => matrix::<f64>(tensor),
        Dtype::F16 => matrix::<f16>(tensor),
        Dtype::BF16 => matrix::<bf16>(tensor),
        other => unreachable!("{other:?} was refused when the job was opened"),
    })
}

fn hessian<T: crate::input::weight::Element + bytemuck::Pod>(
    tensor: &MappedTensor,
    whole: bool,
) -> Result<Hessian, Error> {
    let values = tensor.values::<T>();
    match tensor.shape[..] {
        [rows, cols] => {
            let full = ArrayView2::from_shape((rows, cols), values).expect("the header was checked");
            if whole { Hessian::from_full(&full) } else { Hessian::from_diagonal_of(&full) }
        }
        _ => Hessian::from_diagonal(&ArrayView1::from(values)),
    }
}

impl ShardIndex {
    fn read(folder: &Path, name: &str) -> Result<Self, CheckpointError> {
        let path = folder.join(name);
        regular(&path)?;
        let text = fs::read(&path).map_err(io_error(&path))?;
        check_unique(&text).map_err(|error| file_error(&path, error))?;
        let content = serde_json::from_slice(&text).map_err(|error| file_error(&path, error))?;
        Ok(ShardIndex { name: name.to_owned(), content })
    }

    /// Every tensor with its file.
    fn weight_map<'a>(&'a self, folder: &Path) -> Result<Vec<(&'a str, &'a str)>, CheckpointError> {
        let refuse = |problem| file_error(&folder.join(&self.name), problem);
        let map = self.content.get("weight_map").and_then(Value::as_object);
        let map = map.ok_or_else(|| refuse("has no object weight_map".to_owned()))?;
        map.iter()
            .map(|(tensor, file)| {
                let file =
                    file.as_str().filter(|file| !file.is_empty() && !file.contains(['/', '\\']) && *file != "..");
                let file = file.ok_or_else(|| refuse(format!("weight_map: {tensor}: is not the name of a file")))?;
                Ok((tensor.as_str(), file))
            })
            .collect()
    }

    /// The shards, sorted.
    fn files(&self, folder: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
        let mut files: Vec<&str> = self.weight_map(folder)?.into_iter().map(|(_, file)| file).collect();
        files.sort_unstable();
        files.dedup();
        Ok(files.into_iter().map(|file| folder.join(file)).collect())
    }
}
