//! Reads the folder of a model: `config.json`, and the tensors in safetensors files.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use armor_core::{FactorPrecision, PackedFactorization, Precision};
use candle_core::{DType, Device, Module, Tensor, safetensors::Load};
use candle_nn::Linear;
use memmap2::Mmap;
use safetensors::{SafeTensors, tensor::TensorView};
use serde_json::{Value, json};

use crate::multiply;

/// What the forward pass needs to know beside the weights.
#[derive(Clone, Copy)]
pub struct Config {
    pub layers: usize,
    pub heads: usize,
    pub key_heads: usize,
    pub head_dim: usize,
    pub rope_theta: f64,
    pub norm_eps: f64,
    /// Whether the output head is the input embedding.
    pub tied: bool,
    /// Whether linear layers are stored as factors.
    pub compressed: bool,
}

impl Config {
    /// Reads `config.json`, and refuses models that this program cannot run.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let (config, path) = (read_json(&path)?, path.display());
        let number = |key: &str| config[key].as_u64().filter(|&number| number > 0).map(|number| number as usize);
        let size = |key: &str| number(key).with_context(|| format!("{path}: {key} is missing or 0"));
        let rope = &config[if config["rope_parameters"].is_object() { "rope_parameters" } else { "rope_scaling" }];
        let stored = &config["quantization_config"];
        let expected = [
            ("model_type", &config["model_type"], "llama, mistral, qwen2"),
            ("hidden_act", &config["hidden_act"], "silu"),
            ("rope_type", rope.get("rope_type").unwrap_or(&rope["type"]), "default"),
            ("quant_method", &stored["quant_method"], "armor"),
            ("format", &stored["format"], "factors"),
        ];
        for (key, found, expected) in expected {
            let fits = expected.split(", ").any(|expected| found == expected) || found.is_null() && key != "model_type";
            ensure!(fits, "{path}: {key} is {found}, expected {expected}");
        }
        ensure!(stored["base"].is_null(), "{path}: the weights that were not compressed are quantised");
        let window = config["sliding_window"].is_number() && config["use_sliding_window"] != false;
        ensure!(!window, "{path}: the attention has a sliding window, which this program lacks");
        let heads = size("num_attention_heads")?;
        Ok(Config {
            layers: size("num_hidden_layers")?,
            heads,
            key_heads: number("num_key_value_heads").unwrap_or(heads),
            head_dim: number("head_dim").map_or_else(|| Ok(size("hidden_size")? / heads), anyhow::Ok)?,
            rope_theta: rope["rope_theta"].as_f64().or(config["rope_theta"].as_f64()).unwrap_or(1e4),
            norm_eps: config["rms_norm_eps"].as_f64().with_context(|| format!("{path}: rms_norm_eps is missing"))?,
            tied: config["tie_word_embeddings"] == true,
            compressed: !stored.is_null(),
        })
    }
}

/// Reads a JSON file.
pub fn read_json(path: &Path) -> Result<Value> {
    let text = fs::read(path).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&text).with_context(|| path.display().to_string())
}

/// Maps the file of all weights, or those that its index lists.
pub fn map_files(folder: &Path, compressed: bool) -> Result<Vec<Mmap>> {
    let all = if compressed { "armor-model.safetensors" } else { "model.safetensors" };
    let mut listed = json!({"": all});
    if !folder.join(all).exists() {
        listed = read_json(&folder.join(format!("{all}.index.json")))?["weight_map"].take();
    }
    let names: BTreeSet<_> = listed.as_object().into_iter().flatten().filter_map(|(_, file)| file.as_str()).collect();
    let map = |name: &str| {
        let path = folder.join(name);
        // SAFETY: nobody may change the file until the model is loaded, as with every mapped file.
        File::open(&path).and_then(|file| unsafe { Mmap::map(&file) }).with_context(|| path.display().to_string())
    };
    names.into_iter().map(map).collect()
}

/// The tensors of mapped files by name, each with the bytes of its file.
pub struct Weights<'a> {
    tensors: HashMap<String, (&'a [u8], TensorView<'a>)>,
    /// The bytes of all that was loaded, as it lies in memory.
    pub bytes: usize,
}

impl<'a> Weights<'a> {
    /// Reads the headers of the files.
    pub fn new(files: &'a [Mmap]) -> Result<Self> {
        let mut tensors = HashMap::new();
        for file in files {
            let views = SafeTensors::deserialize(file).context("a file of weights is damaged")?.tensors();
            tensors.extend(views.into_iter().map(|(name, view)| (name, (&file[..], view))));
        }
        Ok(Weights { tensors, bytes: 0 })
    }

    fn find(&self, name: &str) -> Result<&(&'a [u8], TensorView<'a>)> {
        self.tensors.get(name).with_context(|| format!("the model has no tensor {name}"))
    }

    /// Loads a tensor as f32.
    pub fn tensor(&mut self, name: &str) -> Result<Tensor> {
        let tensor = self.find(name)?.1.load(&Device::Cpu)?.to_dtype(DType::F32)?;
        self.bytes += size_of::<f32>() * tensor.elem_count();
        Ok(tensor)
    }

    /// Loads a linear layer: its factors in the number types of the file, or else its weight.
    pub fn linear(&mut self, name: &str) -> Result<Box<dyn Module>> {
        let bias = format!("{name}.bias");
        let bias = self.tensors.contains_key(&bias).then(|| self.tensor(&bias)).transpose()?;
        let Some(&(file, _)) = self.tensors.get(&format!("{name}.armor.left")) else {
            return Ok(Box::new(Linear::new(self.tensor(&format!("{name}.weight"))?, bias)));
        };
        let dtype = |part: &str| -> Result<Precision> {
            Ok(self.find(&format!("{name}.armor.{part}"))?.1.dtype().to_string().to_lowercase().parse()?)
        };
        let precision =
            FactorPrecision { left: dtype("left")?, core: dtype("core.compressed")?, right: dtype("right")? };
        let factors = PackedFactorization::from_safetensors(file, name, precision)?;
        self.bytes += factors.bytes().total();
        Ok(Box::new(move |x: &Tensor| match &bias {
            Some(bias) => multiply(&factors, x)?.broadcast_add(bias),
            None => multiply(&factors, x),
        }))
    }
}
