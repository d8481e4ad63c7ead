//! The tensors of a checkpoint, or of a set of Hessians, wherever they stand: one safetensors file or several.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytemuck::Pod;
use half::{bf16, f16};
use ndarray::{ArrayView1, ArrayView2};
use safetensors::Dtype;
use safetensors::tensor::TensorInfo;

use super::digest;
use super::error::{CheckpointError, tensor_error};
use super::fp8::dequantized;
use super::model_config::ModelConfig;
use super::model_files::{ModelFiles, SkippedFile};
use super::selected_tensor::SelectedTensor;
use super::shard::{MappedTensor, Shard};
use super::shard_index::ShardIndex;
use super::tensor_names::key_of;
use crate::error::Error;
use crate::input::hessian::Hessian;
use crate::input::layer::Layer;
use crate::input::weight::{Element, Weight};

/// Tensors by name.
pub(super) struct Source {
    path: PathBuf,
    pub shards: Vec<Shard>,
    /// The shard of every tensor.
    tensors: BTreeMap<String, usize>,
    pub index: Option<ShardIndex>,
    /// The files of the folder that are not read.
    pub skipped: Vec<SkippedFile>,
}

/// A layer whose weight is in memory.
pub(super) struct LoadedLayer<'a> {
    pub layer: Layer<'a>,
    weight: &'a MappedTensor,
    scale: Option<&'a MappedTensor>,
}

/// What a layer is made from, by digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LayerDigests {
    /// Of the weight's bytes, and those of its scales.
    pub weight: String,
    /// Of the values of the calibration: of a Hessian in a file those that the objective reads, its diagonal or all.
    pub calibration: String,
}

impl LoadedLayer<'_> {
    /// Hashes the weight and its scales.
    pub fn weight_digest(&self) -> String {
        digest::of([Some(self.weight), self.scale].into_iter().flatten().map(MappedTensor::bytes))
    }

    /// Hashes weight and Hessian.
    pub fn digests(&self) -> LayerDigests {
        let hessian = self.layer.hessian();
        let diagonal: &[u8] = bytemuck::cast_slice(hessian.diagonal());
        let rows = (0..hessian.len()).filter_map(|row| hessian.row(row)).map(bytemuck::cast_slice);
        LayerDigests { weight: self.weight_digest(), calibration: digest::of([diagonal].into_iter().chain(rows)) }
    }
}

impl Source {
    /// Opens a model: a file, or those files of a folder that [`ModelFiles::of_checkpoint`] finds.
    ///
    /// # Errors
    /// Beside those of the files, [`CheckpointError::Tensor`] for a model that is compressed already.
    pub fn checkpoint(path: &Path, config: Option<&ModelConfig>) -> Result<Self, CheckpointError> {
        let source = Self::open(path, ModelFiles::of_checkpoint(path, config)?)?;
        let is_factor = |name: &&str| {
            let stem = name.strip_suffix(".armor.left");
            stem.is_some_and(|stem| source.tensors.contains_key(&format!("{stem}.armor.right")))
        };
        if let Some(factor) = source.tensors().find(is_factor) {
            return Err(tensor_error(&source.file_of(factor), factor, "is a factor: the model is compressed already"));
        }
        Ok(source)
    }

    /// Opens Hessians: a file, or those files of a folder that [`ModelFiles::of_hessians`] finds.
    pub fn hessians(path: &Path) -> Result<Self, CheckpointError> {
        Self::open(path, ModelFiles::of_hessians(path)?)
    }

    fn open(path: &Path, files: ModelFiles) -> Result<Self, CheckpointError> {
        let shards = files.shards;
        let mut tensors: BTreeMap<String, usize> = BTreeMap::new();
        for (number, shard) in shards.iter().enumerate() {
            for tensor in shard.tensors() {
                if let Some(other) = tensors.insert(tensor.clone(), number) {
                    let problem = format!("is in {} too", shards[other].name());
                    return Err(tensor_error(&shard.name(), &tensor, problem));
                }
            }
        }
        let source = Source { path: path.to_owned(), shards, tensors, index: files.index, skipped: files.skipped };
        source.check_index()?;
        Ok(source)
    }

    /// Checks that every tensor of the index is where it says.
    fn check_index(&self) -> Result<(), CheckpointError> {
        let Some(index) = &self.index else { return Ok(()) };
        for (tensor, file) in index.weight_map(&self.path)? {
            match self.shard(tensor) {
                None => return Err(tensor_error(file, tensor, format!("is missing, but {} names it", index.name))),
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

    /// The name of the file with this tensor; empty where there is no such tensor.
    pub fn file_of(&self, tensor: &str) -> String {
        self.shard(tensor).map_or_else(String::new, Shard::name)
    }

    /// The file with this tensor, and the tensor's type and shape.
    pub fn info(&self, tensor: &str) -> Option<(String, &TensorInfo)> {
        let shard = self.shard(tensor)?;
        Some((shard.name(), shard.info(tensor)?))
    }

    /// Maps a tensor, or one slice of its first axis.
    fn tensor(&self, tensor: &str, slice: Option<usize>) -> Result<(&Shard, MappedTensor), CheckpointError> {
        let shard =
            self.shard(tensor).ok_or_else(|| tensor_error(&self.path.to_string_lossy(), tensor, "no such tensor"))?;
        Ok((shard, shard.tensor(tensor, slice)?))
    }

    /// Reads a tensor of a few integers; `None` where there is none of this name.
    ///
    /// # Errors
    /// [`CheckpointError::Tensor`] for another number type than I64 or U8.
    pub fn integers(&self, tensor: &str) -> Result<Option<Vec<i64>>, CheckpointError> {
        if self.shard(tensor).is_none() {
            return Ok(None);
        }
        let (shard, tensor_of) = self.tensor(tensor, None)?;
        match tensor_of.dtype {
            Dtype::I64 => Ok(Some(tensor_of.values::<i64>().to_vec())),
            Dtype::U8 => Ok(Some(tensor_of.bytes().iter().map(|&byte| byte.into()).collect())),
            other => Err(tensor_error(&shard.name(), tensor, format!("is {other:?}, expected I64 or U8"))),
        }
    }

    /// Passes a selected layer to `body`. The weight is mapped only during the call.
    pub fn with_layer<R>(
        &self,
        selected: &SelectedTensor,
        hessian: Hessian,
        body: impl FnOnce(&LoadedLayer<'_>) -> Result<R, CheckpointError>,
    ) -> Result<R, CheckpointError> {
        let (shard, tensor) = self.tensor(&selected.tensor, selected.slice)?;
        let scale = match &selected.scale {
            Some(scale) => Some(self.tensor(scale, None)?.1),
            None => None,
        };
        let dequantized = scale.as_ref().map(|scale| dequantized(&tensor, scale));
        let weight = match &dequantized {
            Some(weight) => oriented(weight.view(), selected.transposed),
            None => view(&tensor, selected.transposed),
        };
        let layer = Layer::new(weight, hessian).map_err(|error| refused(shard, &selected.name, error))?;
        body(&LoadedLayer { layer, weight: &tensor, scale: scale.as_ref() })
    }

    /// Reads a Hessian, or a slice of a tensor of several: a diagonal of one axis, or a matrix, of which `whole` keeps all
    /// entries and otherwise the diagonal alone.
    pub fn hessian(&self, name: &str, slice: Option<usize>, whole: bool) -> Result<Hessian, CheckpointError> {
        let (shard, tensor) = self.tensor(name, slice)?;
        let hessian = match tensor.dtype {
            Dtype::F32 => hessian::<f32>(&tensor, whole),
            Dtype::F64 => hessian::<f64>(&tensor, whole),
            Dtype::F16 => hessian::<f16>(&tensor, whole),
            Dtype::BF16 => hessian::<bf16>(&tensor, whole),
            other => unreachable!("{other:?} was refused when the job was opened"),
        };
        hessian.map_err(|error| refused(shard, &key_of(name, slice), error))
    }
}

fn refused(shard: &Shard, tensor: &str, source: Error) -> CheckpointError {
    CheckpointError::InTensor { file: shard.name(), tensor: tensor.to_owned(), source }
}

/// Whether weights may be of this type.
pub(super) fn is_weight(dtype: Dtype) -> bool {
    is_number(dtype) || dtype == Dtype::F8_E4M3
}

/// Whether weights without scales, and Hessians, may be of this type.
pub(super) fn is_number(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F64 | Dtype::F16 | Dtype::BF16)
}

/// Views a weight of two axes as [outputs, inputs].
pub(super) fn view(tensor: &MappedTensor, transposed: bool) -> Weight<'_> {
    fn matrix<T: Element + Pod>(tensor: &MappedTensor, transposed: bool) -> Weight<'_> {
        let shape = (tensor.shape[0], tensor.shape[1]);
        let stored = ArrayView2::from_shape(shape, tensor.values::<T>()).expect("the header was checked");
        oriented(stored, transposed)
    }
    match tensor.dtype {
        Dtype::F32 => matrix::<f32>(tensor, transposed),
        Dtype::F64 => matrix::<f64>(tensor, transposed),
        Dtype::F16 => matrix::<f16>(tensor, transposed),
        Dtype::BF16 => matrix::<bf16>(tensor, transposed),
        other => unreachable!("{other:?} was refused when the job was opened"),
    }
}

/// Views a matrix as [outputs, inputs].
fn oriented<T: Element>(stored: ArrayView2<'_, T>, transposed: bool) -> Weight<'_> {
    T::weight(if transposed { stored.reversed_axes() } else { stored })
}

fn hessian<T: Element + Pod>(tensor: &MappedTensor, whole: bool) -> Result<Hessian, Error> {
    let values = tensor.values::<T>();
    match tensor.shape[..] {
        [rows, cols] => {
            let full = ArrayView2::from_shape((rows, cols), values).expect("the header was checked");
            if whole { Hessian::from_full(&full) } else { Hessian::from_diagonal_of(&full) }
        }
        _ => Hessian::from_diagonal(&ArrayView1::from(values)),
    }
}
