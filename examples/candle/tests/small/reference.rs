//! The logits of a Llama in f64, as slow and obvious as can be: no cache, one number at a time.

use std::collections::HashMap;
use std::path::Path;

use armor_core::Factorization;
use candle_core::{DType, Device, Tensor};
use serde_json::Value;

/// A model in f64. Factors are multiplied out.
pub struct Reference {
    config: Value,
    tensors: HashMap<String, Vec<Vec<f64>>>,
}

impl Reference {
    /// Reads all weights of a folder.
    pub fn read(folder: &Path) -> Self {
        let config = serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
        let mut tensors = HashMap::new();
        let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        for path in paths.filter(|path| path.extension().is_some_and(|end| end == "safetensors")) {
            let bytes = std::fs::read(&path).unwrap();
            for (name, tensor) in candle_core::safetensors::load(&path, &Device::Cpu).unwrap() {
                if let Some(layer) = name.strip_suffix(".armor.left") {
                    let weight = Factorization::from_safetensors(&bytes, layer).unwrap().reconstruct();
                    let rows = weight.rows().into_iter().map(|row| row.iter().map(|&x| x.into()).collect());
                    tensors.insert(format!("{layer}.weight"), rows.collect());
                } else if !name.contains(".armor.") {
                    tensors.insert(name, matrix(&tensor));
                }
            }
        }
        Reference { config, tensors }
    }

    /// The logits after every token.
    pub fn logits(&self, tokens: &[u32]) -> Vec<Vec<f64>> {
        let mut states: Vec<_> =
            tokens.iter().map(|&token| self.tensors["model.embed_tokens.weight"][token as usize].clone()).collect();
        for block in 0..self.size("num_hidden_layers") {
            let block = format!("model.layers.{block}");
            let inputs: Vec<_> = states.iter().map(|x| self.norm(&format!("{block}.input_layernorm"), x)).collect();
            for (state, change) in states.iter_mut().zip(self.attention(&block, &inputs)) {
                add(state, &change);
                let x = self.norm(&format!("{block}.post_attention_layernorm"), state);
                let gate = self.linear(&format!("{block}.mlp.gate_proj"), &x);
                let up = self.linear(&format!("{block}.mlp.up_proj"), &x);
                let product: Vec<f64> = gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
                add(state, &self.linear(&format!("{block}.mlp.down_proj"), &product));
            }
        }
        let tied = self.config["tie_word_embeddings"] == true;
        let head = if tied { "model.embed_tokens" } else { "lm_head" };
        states.iter().map(|x| self.linear(head, &self.norm("model.norm", x))).collect()
    }

    /// The most likely tokens after a prompt.
    pub fn greedy(&self, prompt: &[u32], count: usize) -> Vec<u32> {
        let mut tokens = prompt.to_vec();
        for _ in 0..count {
            let logits = self.logits(&tokens).pop().unwrap();
            let likeliest = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
            tokens.push(likeliest as u32);
        }
        tokens.split_off(prompt.len())
    }

    fn attention(&self, block: &str, inputs: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let (heads, key_heads) = (self.size("num_attention_heads"), self.size("num_key_value_heads"));
        let width = self.config["head_dim"].as_u64().map_or(self.size("hidden_size") / heads, |width| width as usize);
        let project = |part: &str| -> Vec<Vec<f64>> {
            inputs.iter().map(|x| self.linear(&format!("{block}.self_attn.{part}_proj"), x)).collect()
        };
        let (queries, keys, values) = (project("q"), project("k"), project("v"));
        let head = |all: &[Vec<f64>], at: usize, head: usize| all[at][head * width..][..width].to_vec();
        let mut outputs = Vec::new();
        for at in 0..inputs.len() {
            let mut mixed = vec![0.0; heads * width];
            for h in 0..heads {
                let shared = h / (heads / key_heads);
                let query = self.rotate(&head(&queries, at, h), at);
                let scores: Vec<f64> = (0..=at)
                    .map(|j| dot(&query, &self.rotate(&head(&keys, j, shared), j)) / (width as f64).sqrt())
                    .collect();
                let total: f64 = scores.iter().map(|score| score.exp()).sum();
                for (j, score) in scores.iter().enumerate() {
                    for (i, value) in head(&values, j, shared).iter().enumerate() {
                        mixed[h * width + i] += score.exp() / total * value;
                    }
                }
            }
            outputs.push(self.linear(&format!("{block}.self_attn.o_proj"), &mixed));
        }
        outputs
    }

    /// Turns entries i and i + half by the angle of a position.
    fn rotate(&self, x: &[f64], at: usize) -> Vec<f64> {
        let parameters = &self.config["rope_parameters"]["rope_theta"];
        let theta = parameters.as_f64().or(self.config["rope_theta"].as_f64()).unwrap_or(10000.0);
        let half = x.len() / 2;
        let mut turned = x.to_vec();
        for i in 0..half {
            let (sin, cos) = (at as f64 / theta.powf(2.0 * i as f64 / x.len() as f64)).sin_cos();
            turned[i] = x[i] * cos - x[i + half] * sin;
            turned[i + half] = x[i + half] * cos + x[i] * sin;
        }
        turned
    }

    fn linear(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let mut y: Vec<f64> = self.tensors[&format!("{name}.weight")].iter().map(|row| dot(row, x)).collect();
        if let Some(bias) = self.tensors.get(&format!("{name}.bias")) {
            add(&mut y, &bias[0]);
        }
        y
    }

    fn norm(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let size = (dot(x, x) / x.len() as f64 + self.config["rms_norm_eps"].as_f64().unwrap()).sqrt();
        x.iter().zip(&self.tensors[&format!("{name}.weight")][0]).map(|(x, weight)| x / size * weight).collect()
    }

    fn size(&self, key: &str) -> usize {
        self.config[key].as_u64().unwrap() as usize
    }
}

/// The rows of a tensor; a vector is one row.
fn matrix(tensor: &Tensor) -> Vec<Vec<f64>> {
    let tensor = if tensor.rank() == 1 { tensor.unsqueeze(0).unwrap() } else { tensor.clone() };
    tensor.to_dtype(DType::F64).unwrap().to_vec2().unwrap()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(x: &mut [f64], change: &[f64]) {
    assert_eq!(x.len(), change.len());
    x.iter_mut().zip(change).for_each(|(x, change)| *x += change);
}
