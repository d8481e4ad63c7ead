//! The forward pass of a Llama in f32, for one sequence, on candle. Its linear layers may be factors A · S · B.

use std::path::Path;

use anyhow::Result;
use armor_core::PackedFactorization;
use candle_core::{DType, Device::Cpu, Error, Module, Result as Computed, Storage, Tensor, bail};
use candle_nn::{Linear, RmsNorm, kv_cache::KvCache, ops::softmax_last_dim, rotary_emb::rope};
use ndarray::{Array2, ArrayView2};

use crate::weights::{Config, Weights, map_files};

pub mod weights;

/// Computes y = A (S (B x)) for all rows x at once, from candle's memory to candle's memory.
pub fn multiply(factors: &PackedFactorization, x: &Tensor) -> Computed<Tensor> {
    let (storage, layout) = x.storage_and_layout();
    let (Storage::Cpu(numbers), Some((start, end))) = (&*storage, layout.contiguous_offsets()) else {
        bail!("the input of a packed layer is not contiguous");
    };
    let (shape, scratch_len) = (x.dims2()?, factors.scratch_len(x.dim(0)?));
    let x = ArrayView2::<f32>::from_shape(shape, &numbers.as_slice()?[start..end]).map_err(Error::wrap)?;
    let mut y = Array2::zeros((shape.0, factors.rows()));
    factors.apply_batch_into(x, y.view_mut(), &mut vec![0.0; scratch_len]).map_err(Error::wrap)?;
    Tensor::from_vec(y.into_raw_vec_and_offset().0, (shape.0, factors.rows()), &Cpu)
}

/// A model with the keys and values of the tokens that it has seen.
pub struct Model {
    /// The bytes of all weights in memory.
    pub bytes: usize,
    config: Config,
    embedding: Tensor,
    blocks: Vec<Block>,
    norm: RmsNorm,
    head: Box<dyn Module>,
    seen: usize,
}

impl Model {
    /// Loads the model of a folder.
    pub fn load(folder: &Path) -> Result<Self> {
        let config = Config::read(folder)?;
        let files = map_files(folder, config.compressed)?;
        let mut weights = Weights::new(&files)?;
        let embedding = weights.tensor("model.embed_tokens.weight")?;
        let head = match config.tied {
            true => Box::new(Linear::new(embedding.clone(), None)),
            false => weights.linear("lm_head")?,
        };
        let norm = RmsNorm::new(weights.tensor("model.norm.weight")?, config.norm_eps);
        let blocks =
            (0..config.layers).map(|index| Block::load(&mut weights, &config, index)).collect::<Result<_>>()?;
        Ok(Model { bytes: weights.bytes, config, embedding, blocks, norm, head, seen: 0 })
    }

    /// Goes on with these tokens, and gives the logits of the token after them.
    pub fn forward(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        let positions = self.positions(tokens.len())?;
        let mut x = self.embedding.index_select(&Tensor::new(tokens, &Cpu)?, 0)?;
        for block in &mut self.blocks {
            x = (&x + block.attention(&block.attention_norm.forward(&x)?, &self.config, &positions)?)?;
            x = (&x + block.mlp(&block.mlp_norm.forward(&x)?)?)?;
        }
        self.seen += tokens.len();
        let last = self.norm.forward(&x.narrow(0, tokens.len() - 1, 1)?)?;
        Ok(self.head.forward(&last)?.squeeze(0)?.to_vec1()?)
    }

    /// Gives what depends on the positions of the next tokens: cosines and sines [tokens, head_dim / 2], and what is added
    /// to the scores [tokens, tokens seen], -∞ for a later token.
    fn positions(&self, count: usize) -> Computed<[Tensor; 3]> {
        let (half, seen, all) = (self.config.head_dim / 2, self.seen, self.seen + count);
        let frequency = |i| self.config.rope_theta.powf(-(i as f64) / half as f64);
        let frequencies = Tensor::from_iter((0..half).map(frequency), &Cpu)?.reshape((1, half))?;
        let angles = Tensor::arange(seen as f64, all as f64, &Cpu)?.reshape((count, 1))?.matmul(&frequencies)?;
        let mask = (seen..all).flat_map(|at| (0..all).map(move |j| if j > at { f32::NEG_INFINITY } else { 0.0 }));
        let mask = Tensor::from_iter(mask, &Cpu)?.reshape((count, all))?;
        Ok([angles.cos()?.to_dtype(DType::F32)?, angles.sin()?.to_dtype(DType::F32)?, mask])
    }
}

struct Block {
    attention_norm: RmsNorm,
    attention: [Box<dyn Module>; 4],
    cache: KvCache,
    mlp_norm: RmsNorm,
    mlp: [Box<dyn Module>; 3],
}

impl Block {
    fn load(weights: &mut Weights, config: &Config, index: usize) -> Result<Self> {
        let name = |part: &str| format!("model.layers.{index}.{part}");
        let mut norm = |part: &str| anyhow::Ok(RmsNorm::new(weights.tensor(&name(part))?, config.norm_eps));
        let (attention_norm, mlp_norm) = (norm("input_layernorm.weight")?, norm("post_attention_layernorm.weight")?);
        let mut linear = |part: &str| weights.linear(&name(&format!("{part}_proj")));
        Ok(Block {
            attention_norm,
            attention: [linear("self_attn.q")?, linear("self_attn.k")?, linear("self_attn.v")?, linear("self_attn.o")?],
            cache: KvCache::new(2, 512),
            mlp_norm,
            mlp: [linear("mlp.gate")?, linear("mlp.up")?, linear("mlp.down")?],
        })
    }

    fn attention(&mut self, x: &Tensor, config: &Config, [cos, sin, mask]: &[Tensor; 3]) -> Computed<Tensor> {
        let (Config { heads, key_heads, head_dim, .. }, tokens) = (*config, x.dim(0)?);
        let [query, key, value, output] = &self.attention;
        // [tokens, heads · head_dim] becomes [1, heads, tokens, head_dim].
        let split = |y: Tensor, heads| y.reshape((1, tokens, heads, head_dim))?.transpose(1, 2)?.contiguous();
        let query = rope(&split(query.forward(x)?, heads)?, cos, sin)?;
        let key = rope(&split(key.forward(x)?, key_heads)?, cos, sin)?;
        let (keys, values) = self.cache.append(&key, &split(value.forward(x)?, key_heads)?)?;
        // The query heads that share a key head are the rows of one product.
        let rows = heads / key_heads * tokens;
        let query = (query.reshape((key_heads, rows, head_dim))? / (head_dim as f64).sqrt())?;
        let scores = query.matmul(&keys.squeeze(0)?.t()?)?.reshape((heads, tokens, ()))?;
        let shares = softmax_last_dim(&scores.broadcast_add(mask)?)?.reshape((key_heads, rows, ()))?;
        let mixed = shares.matmul(&values.squeeze(0)?)?.reshape((heads, tokens, head_dim))?;
        output.forward(&mixed.transpose(0, 1)?.reshape((tokens, heads * head_dim))?)
    }

    fn mlp(&self, x: &Tensor) -> Computed<Tensor> {
        let [gate, up, down] = &self.mlp;
        down.forward(&(gate.forward(x)?.silu()? * up.forward(x)?)?)
    }
}
