//! Reads a weight and its Hessian from safetensors files.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use armor_core::{Element, Hessian, Layer};
use half::{bf16, f16};
use ndarray::{ArrayView1, ArrayView2};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::Result;
use super::arguments::LayerArguments;

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/data/smollm2-135m-layer10-gate_proj.safetensors");

/// A safetensors file in memory.
pub struct File {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl File {
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let file = File { path: path.to_owned(), bytes };
        file.tensors()?;
        Ok(file)
    }

    pub fn tensors(&self) -> Result<SafeTensors<'_>> {
        SafeTensors::deserialize(&self.bytes)
            .map_err(|error| format!("{}: not a safetensors file: {error}", self.path.display()).into())
    }

    /// The only weight in the file, by its name.
    fn only_weight(&self) -> Result<String> {
        let tensors = self.tensors()?;
        let mut names: Vec<&str> = tensors.names().into_iter().filter(|name| name.ends_with(".weight")).collect();
        names.sort_unstable();
        match names[..] {
            [name] => Ok(name.to_owned()),
            [] => Err(format!("{}: no tensor is named *.weight, choose one with --name", self.path.display()).into()),
            _ => Err(format!("{}: choose a weight with --name: {}", self.path.display(), names.join(", ")).into()),
        }
    }

    fn tensor<'t>(&self, tensors: &SafeTensors<'t>, name: &str) -> Result<TensorView<'t>> {
        tensors.tensor(name).map_err(|_| {
            let mut names: Vec<&str> = tensors.names().into_iter().collect();
            names.sort_unstable();
            let more = if names.len() > 8 { ", …" } else { "" };
            names.truncate(8);
            self.context(name, format!("no such tensor; the file has {}{more}", names.join(", ")))
        })
    }

    /// The Hessian in a tensor: the whole of it, k × k, or its diagonal, length k.
    pub fn hessian(&self, name: &str) -> Result<Hessian> {
        let tensors = self.tensors()?;
        let tensor = self.tensor(&tensors, name)?;
        let hessian = match tensor.dtype() {
            Dtype::F32 => hessian::<f32>(&tensor),
            Dtype::F64 => hessian::<f64>(&tensor),
            Dtype::F16 => hessian::<f16>(&tensor),
            Dtype::BF16 => hessian::<bf16>(&tensor),
            other => Err(format!("is {other:?}, expected F32, F64, F16 or BF16").into()),
        };
        hessian.map_err(|error| self.context(name, error))
    }

    fn context(&self, name: &str, what: impl std::fmt::Display) -> Box<dyn Error> {
        format!("{}: {name}: {what}", self.path.display()).into()
    }
}

/// Where a layer comes from.
pub struct Source {
    weights: File,
    hessians: Option<File>,
    name: String,
    hessian: String,
}

impl Source {
    pub fn new(arguments: &LayerArguments) -> Result<Self> {
        let shipped = Path::new(SHIPPED);
        if arguments.weights.is_none() && !shipped.exists() {
            return Err(
                format!("{SHIPPED} is not here: take it from the repository, or name a file with --weights").into()
            );
        }
        let weights = File::read(arguments.weights.as_deref().unwrap_or(shipped))?;
        let hessians = arguments.hessian_file.as_deref().map(File::read).transpose()?;
        let name = arguments.name.clone().map_or_else(|| weights.only_weight(), Ok)?;
        let stem = name.strip_suffix(".weight").unwrap_or(&name);
        let hessian = arguments.hessian.clone().unwrap_or_else(|| format!("{stem}.hessian"));
        Ok(Source { weights, hessians, name, hessian })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Hands the layer to `body`, whatever its element type.
    pub fn with_layer<R>(&self, body: impl FnOnce(&Layer<'_>) -> Result<R>) -> Result<R> {
        let tensors = self.weights.tensors()?;
        let weight = self.weights.tensor(&tensors, &self.name)?;
        let hessian = self.hessians.as_ref().unwrap_or(&self.weights).hessian(&self.hessian)?;
        let &[rows, cols] = weight.shape() else {
            return Err(self.weights.context(&self.name, format!("has shape {:?}, expected two axes", weight.shape())));
        };
        let result = match weight.dtype() {
            Dtype::F32 => layer::<f32, R>(&weight, (rows, cols), hessian, body),
            Dtype::F64 => layer::<f64, R>(&weight, (rows, cols), hessian, body),
            Dtype::F16 => layer::<f16, R>(&weight, (rows, cols), hessian, body),
            Dtype::BF16 => layer::<bf16, R>(&weight, (rows, cols), hessian, body),
            other => Err(format!("is {other:?}, expected F32, F64, F16 or BF16").into()),
        };
        result.map_err(|error| self.weights.context(&self.name, error))
    }
}

/// Copies a tensor's values out of the file, which need not align them.
fn values<T: bytemuck::Pod>(tensor: &TensorView<'_>) -> Vec<T> {
    bytemuck::allocation::pod_collect_to_vec(tensor.data())
}

fn layer<T: Element + bytemuck::Pod, R>(
    weight: &TensorView<'_>,
    shape: (usize, usize),
    hessian: Hessian,
    body: impl FnOnce(&Layer<'_>) -> Result<R>,
) -> Result<R> {
    let values = values::<T>(weight);
    body(&Layer::new(ArrayView2::from_shape(shape, &values)?, hessian)?)
}

fn hessian<T: Element + bytemuck::Pod>(tensor: &TensorView<'_>) -> Result<Hessian> {
    let values = values::<T>(tensor);
    match *tensor.shape() {
        [_] => Ok(Hessian::from_diagonal(&ArrayView1::from(&values))?),
        [rows, cols] => Ok(Hessian::from_full(&ArrayView2::from_shape((rows, cols), &values)?)?),
        _ => Err(format!("has shape {:?}, expected one axis or two", tensor.shape()).into()),
    }
}
