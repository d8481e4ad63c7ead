//! A small random model in the shape of Llama: two shards, tied embeddings, a layer with experts, one bf16 tensor.

#![allow(dead_code, reason = "the tests of the C ABI use a part of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use armor_core::Format;
use armor_core::checkpoint::{Job, JobSettings};
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;
use tempfile::TempDir;

use crate::common::{Mat, hessian, weight};

/// Bytes of a tensor with its type and shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

pub type Tensors = BTreeMap<String, Tensor>;

impl Tensor {
    pub fn new(dtype: Dtype, shape: &[usize], values: impl IntoIterator<Item = f32>) -> Self {
        let values = values.into_iter();
        let bytes = match dtype {
            Dtype::F32 => values.flat_map(f32::to_le_bytes).collect(),
            Dtype::F16 => values.flat_map(|x| f16::from_f32(x).to_le_bytes()).collect(),
            Dtype::BF16 => values.flat_map(|x| bf16::from_f32(x).to_le_bytes()).collect(),
            other => panic!("{other:?} is not used here"),
        };
        Tensor { dtype, shape: shape.to_vec(), bytes }
    }

    /// A random weight.
    pub fn weight(dtype: Dtype, rows: usize, cols: usize, seed: u64) -> Self {
        Tensor::new(dtype, &[rows, cols], weight(rows, cols, seed))
    }

    /// A random Hessian's diagonal.
    pub fn diagonal(len: usize, seed: u64) -> Self {
        Tensor::new(Dtype::F32, &[len], hessian(len, seed))
    }

    pub fn values(&self) -> Vec<f64> {
        match self.dtype {
            Dtype::F32 => self.bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b).into()).collect(),
            Dtype::F16 => self.bytes.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).into()).collect(),
            Dtype::BF16 => self.bytes.as_chunks().0.iter().map(|&b| bf16::from_le_bytes(b).into()).collect(),
            Dtype::I64 => self.bytes.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b) as f64).collect(),
            other => panic!("{other:?} is not used here"),
        }
    }

    pub fn matrix(&self) -> Mat {
        Mat::from_shape_vec((self.shape[0], self.shape[1]), self.values()).expect("the shape is the header's")
    }
}

/// Writes a safetensors file.
pub fn write(path: &Path, tensors: &Tensors) {
    let views = tensors.iter().map(|(name, tensor)| {
        (name, TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes).expect("bytes fit the shape"))
    });
    let metadata = Some([("format".to_owned(), "pt".to_owned())].into());
    safetensors::serialize_to_file(views, metadata, path).expect("can be written");
}

/// Reads a safetensors file.
pub fn read(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("sound");
    let tensor = |(name, view): (String, TensorView<'_>)| {
        (name, Tensor { dtype: view.dtype(), shape: view.shape().to_vec(), bytes: view.data().to_vec() })
    };
    file.tensors().into_iter().map(tensor).collect()
}

/// The model on disk.
pub struct Model {
    pub folder: TempDir,
    pub shards: [Tensors; 2],
    pub hessians: Tensors,
}

pub const SHARDS: [&str; 2] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];

/// The shards of an output with factors.
pub const COMPRESSED: [&str; 2] = ["armor-model-00001-of-00002.safetensors", "armor-model-00002-of-00002.safetensors"];

/// The shards of an output, and its index.
pub fn output_names(format: Format) -> ([&'static str; 2], &'static str) {
    match format {
        Format::Reconstructed => (SHARDS, "model.safetensors.index.json"),
        _ => (COMPRESSED, "armor-model.safetensors.index.json"),
    }
}

impl Model {
    pub fn new() -> Self {
        let (hidden, inner) = (64, 96);
        let (mut shards, mut hessians) = ([Tensors::new(), Tensors::new()], Tensors::new());
        let mut seed = 0;
        let mut add = |layer: usize, name: &str, rows, cols| {
            seed += 1;
            let dtype = if name == "self_attn.o_proj" { Dtype::BF16 } else { Dtype::F16 };
            let name = format!("model.layers.{layer}.{name}");
            if !["k_proj", "v_proj", "up_proj", "w3"].iter().any(|alias| name.ends_with(alias)) {
                hessians.insert(format!("{name}.hessian_diag"), Tensor::diagonal(cols, seed));
            }
            shards[usize::from(layer > 1)].insert(format!("{name}.weight"), Tensor::weight(dtype, rows, cols, seed));
        };
        for layer in 0..3 {
            for (name, rows) in [("q_proj", hidden), ("k_proj", 32), ("v_proj", 32), ("o_proj", hidden)] {
                add(layer, &format!("self_attn.{name}"), rows, hidden);
            }
            let feeds = match layer {
                1 => vec!["block_sparse_moe.experts.0.w", "block_sparse_moe.experts.1.w"],
                _ => vec!["mlp."],
            };
            for feed in feeds {
                let names = if layer == 1 { ["1", "3", "2"] } else { ["gate_proj", "up_proj", "down_proj"] };
                for (name, (rows, cols)) in names.iter().zip([(inner, hidden), (inner, hidden), (hidden, inner)]) {
                    add(layer, &format!("{feed}{name}"), rows, cols);
                }
            }
        }
        // Tied: the head is the embedding, and has no tensor of its own.
        shards[0].insert("model.embed_tokens.weight".to_owned(), Tensor::weight(Dtype::F16, 50, hidden, 77));
        shards[1].insert("model.norm.weight".to_owned(), Tensor::diagonal(hidden, 78));
        let model = Model { folder: tempfile::tempdir().expect("a folder"), shards, hessians };
        model.save();
        model
    }

    /// Writes it all.
    pub fn save(&self) {
        std::fs::create_dir_all(self.path()).expect("a folder");
        let mut map = serde_json::Map::new();
        for (name, tensors) in SHARDS.iter().zip(&self.shards) {
            write(&self.path().join(name), tensors);
            map.extend(tensors.keys().map(|tensor| (tensor.clone(), json!(name))));
        }
        let index = json!({"metadata": {"total_size": 1}, "weight_map": map}).to_string();
        std::fs::write(self.path().join("model.safetensors.index.json"), index).expect("can be written");
        std::fs::write(self.path().join("config.json"), r#"{"tie_word_embeddings": true}"#).expect("can be written");
        write(&self.folder.path().join("hessians.safetensors"), &self.hessians);
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("model")
    }

    pub fn out(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A job that is done in a moment.
    pub fn settings(&self, out: &str) -> JobSettings {
        let mut settings =
            JobSettings::new(self.path(), self.folder.path().join("hessians.safetensors"), self.out(out));
        let alias = [("k_proj", "q_proj"), ("v_proj", "q_proj"), ("up_proj", "gate_proj"), ("w3", "w1")];
        // Named, as small weights would grow and be left alone.
        settings.include = vec!["model.layers.*.weight".to_owned()];
        settings.alias = alias.map(|(from, to)| (from.to_owned(), to.to_owned())).into();
        settings.options = settings.options.block(16).iterations(6);
        settings
    }

    /// The weight of a name, and the Hessian that it is compressed under.
    pub fn layer(&self, weight: &str, hessian: &str) -> (Mat, Vec<f64>) {
        let weight = self.shards.iter().find_map(|shard| shard.get(weight)).expect("a weight of the model");
        (weight.matrix(), self.hessians[hessian].values())
    }
}

/// The same settings for a job that continues.
pub fn resumed(settings: &JobSettings) -> JobSettings {
    let mut resumed = settings.clone();
    resumed.resume = true;
    resumed
}

/// Runs a job from the beginning to its end.
pub fn run(settings: JobSettings) -> Job {
    let job = Job::open(settings).expect("sound");
    job.run(2, &|_| {}).expect("runs");
    job.finish(&|_, _| {}).expect("finishes");
    job
}

/// Every file of a folder.
pub fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut files = BTreeMap::new();
    for entry in entries {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        files.insert(name, std::fs::read(&path).expect("a file"));
    }
    files
}
