//! Folders of a tiny random Llama, dense and compressed.

use std::collections::HashMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use armor_core::checkpoint::{Calibration, Job, JobSettings};
use armor_core::{FactorPrecision, Hessian, Precision};
use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const VOCABULARY: usize = 50;
const HIDDEN: usize = 32;
const INTERMEDIATE: usize = 40;
const HEADS: usize = 4;
const KEY_HEADS: usize = 2;
const LAYERS: usize = 2;

/// What may differ between Llamas.
pub struct Variant {
    pub head_dim: usize,
    /// Keys of `config.json` beside the sizes.
    pub config: Value,
    /// Parts that have a bias.
    pub biases: &'static [&'static str],
    pub tied: bool,
    pub shards: usize,
    pub dtype: DType,
    pub precision: Option<FactorPrecision>,
}

/// Tied embeddings, two shards, weights in bf16.
pub fn tied() -> Variant {
    Variant {
        head_dim: HIDDEN / HEADS,
        config: json!({"model_type": "llama", "rope_theta": 500.0, "tie_word_embeddings": true}),
        biases: &[],
        tied: true,
        shards: 2,
        dtype: DType::BF16,
        precision: None,
    }
}

/// A head of its own, biases everywhere, wide heads, a number type for each factor.
pub fn untied() -> Variant {
    Variant {
        head_dim: 16,
        config: json!({
            "model_type": "llama", "head_dim": 16, "tie_word_embeddings": false,
            "rope_parameters": {"rope_type": "default", "rope_theta": 2000.0}
        }),
        biases: &["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        tied: false,
        shards: 1,
        dtype: DType::F32,
        precision: Some(FactorPrecision { left: Precision::F32, core: Precision::Bf16, right: Precision::F16 }),
    }
}

/// Biases of q, k and v alone, and the default base of the rotary embedding.
pub fn qwen2() -> Variant {
    Variant {
        config: json!({"model_type": "qwen2", "sliding_window": 4, "use_sliding_window": false}),
        biases: &["q_proj", "k_proj", "v_proj"],
        shards: 1,
        dtype: DType::F32,
        tied: false,
        ..tied()
    }
}

/// A temporary folder with the models `dense` and `compressed`.
pub struct Folder(TempDir);

impl Folder {
    /// Writes the dense model, and has a job compress its linear layers.
    pub fn new(variant: &Variant) -> Self {
        let folder = Folder(tempfile::tempdir().unwrap());
        fs::create_dir(folder.dense()).unwrap();
        write_weights(&folder.dense(), variant);
        let mut config = json!({
            "hidden_size": HIDDEN, "intermediate_size": INTERMEDIATE, "vocab_size": VOCABULARY, "hidden_act": "silu",
            "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KEY_HEADS,
            "rms_norm_eps": 1e-5, "eos_token_id": VOCABULARY
        });
        config.as_object_mut().unwrap().extend(variant.config.as_object().unwrap().clone());
        write_json(&folder.dense().join("config.json"), &config);
        let words: HashMap<String, usize> = (0..VOCABULARY).map(|word| (format!("w{word}"), word)).collect();
        let tokenizer = json!({
            "version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "WhitespaceSplit"},
            "model": {"type": "WordLevel", "vocab": words, "unk_token": "w0"}
        });
        write_json(&folder.dense().join("tokenizer.json"), &tokenizer);
        compress(&folder.dense(), &folder.compressed(), variant.precision);
        folder
    }

    pub fn dense(&self) -> PathBuf {
        self.0.path().join("dense")
    }

    pub fn compressed(&self) -> PathBuf {
        self.0.path().join("compressed")
    }

    /// Changes a file of JSON in the compressed model.
    pub fn change(&self, file: &str, change: impl FnOnce(&mut Value)) {
        let path = self.compressed().join(file);
        let mut value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut value);
        write_json(&path, &value);
    }
}

fn write_json(path: &Path, value: &Value) {
    fs::write(path, value.to_string()).unwrap();
}

fn write_weights(folder: &Path, variant: &Variant) {
    let (queries, keys) = (HEADS * variant.head_dim, KEY_HEADS * variant.head_dim);
    let linear = [
        ("self_attn.q_proj", queries, HIDDEN),
        ("self_attn.k_proj", keys, HIDDEN),
        ("self_attn.v_proj", keys, HIDDEN),
        ("self_attn.o_proj", HIDDEN, queries),
        ("mlp.gate_proj", INTERMEDIATE, HIDDEN),
        ("mlp.up_proj", INTERMEDIATE, HIDDEN),
        ("mlp.down_proj", HIDDEN, INTERMEDIATE),
    ];
    let mut shapes = vec![("model.embed_tokens.weight".to_owned(), vec![VOCABULARY, HIDDEN])];
    shapes.push(("model.norm.weight".to_owned(), vec![HIDDEN]));
    if !variant.tied {
        shapes.push(("lm_head.weight".to_owned(), vec![VOCABULARY, HIDDEN]));
    }
    for layer in 0..LAYERS {
        for norm in ["input_layernorm", "post_attention_layernorm"] {
            shapes.push((format!("model.layers.{layer}.{norm}.weight"), vec![HIDDEN]));
        }
        for (part, rows, cols) in linear {
            shapes.push((format!("model.layers.{layer}.{part}.weight"), vec![rows, cols]));
            if variant.biases.iter().any(|biased| part.ends_with(biased)) {
                shapes.push((format!("model.layers.{layer}.{part}.bias"), vec![rows]));
            }
        }
    }
    let mut random = Random(1);
    let mut shards = vec![HashMap::new(); variant.shards];
    for (index, (name, shape)) in shapes.into_iter().enumerate() {
        let count = shape.iter().product();
        // Large enough that attention tells the tokens apart.
        let values: Vec<f32> = (0..count).map(|_| random.next() * if shape.len() == 1 { 1.0 } else { 0.5 }).collect();
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu).unwrap().to_dtype(variant.dtype).unwrap();
        shards[index % variant.shards].insert(name, tensor);
    }
    if let [all] = &shards[..] {
        return candle_core::safetensors::save(all, folder.join("model.safetensors")).unwrap();
    }
    let mut index = serde_json::Map::new();
    for (number, shard) in shards.iter().enumerate() {
        let file = format!("model-{:05}-of-{:05}.safetensors", number + 1, variant.shards);
        candle_core::safetensors::save(shard, folder.join(&file)).unwrap();
        index.extend(shard.keys().map(|name| (name.clone(), json!(file))));
    }
    write_json(&folder.join("model.safetensors.index.json"), &json!({"metadata": {}, "weight_map": index}));
}

fn compress(dense: &Path, out: &Path, precision: Option<FactorPrecision>) {
    let mut settings = JobSettings::calibrated_by_caller(dense, ["*_proj.weight"], out);
    settings.options = settings.options.block(8).iterations(3);
    settings.dtype = precision;
    let job = Job::open(settings).unwrap();
    assert_eq!(job.layers().len(), 7 * LAYERS);
    for (index, layer) in job.layers().iter().enumerate() {
        let calibration = Calibration::Hessian { hessian: &Hessian::identity(layer.cols), tokens: 1 };
        job.run_layer_on(index, calibration, |_| ControlFlow::Continue(())).unwrap();
    }
    job.finish(&|_, _| {}).unwrap();
}

/// Numbers between -1 and 1, by a linear congruential generator.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}
