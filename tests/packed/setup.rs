//! Factorisations with any factors, and what their product must be.

use std::collections::HashMap;

use armor_core::{Factorization, PackedFactorization, Pattern, Precision};
use ndarray::Array2;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use crate::common::{Random, masks};

pub const PRECISIONS: [Precision; 3] = [Precision::F32, Precision::F16, Precision::Bf16];

/// What a layer of the tests looks like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub rows: usize,
    pub cols: usize,
    pub left: usize,
    pub right: usize,
    pub pattern: (usize, usize),
}

impl Shape {
    pub fn new(rows: usize, cols: usize, left: usize, right: usize) -> Self {
        Shape { rows, cols, left, right, pattern: (2, 4) }
    }

    /// Normal numbers (their magnitudes, if `positive`) and random masks.
    pub fn factors(self, seed: u64, positive: bool) -> Factorization {
        let mut random = Random::new(seed);
        self.factors_of(seed, move |_| {
            let x = random.normal() as f32;
            if positive { x.abs() } else { x }
        })
    }

    /// Numbers of the caller's, by the name of the tensor that asks; random masks.
    pub fn factors_of(self, seed: u64, number: impl FnMut(&str) -> f32) -> Factorization {
        let (n, m) = self.pattern;
        let (all, mut random) = (masks(Pattern::new(n, m).expect("valid")), Random::new(seed ^ 0x77));
        self.build(number, |_, _| all[(random.uniform() * all.len() as f64) as usize])
    }

    /// Numbers and masks of the caller's, the latter by row and group.
    pub fn build(self, mut number: impl FnMut(&str) -> f32, mut mask: impl FnMut(usize, usize) -> u8) -> Factorization {
        let Shape { rows, cols, left, right, pattern: (n, m) } = self;
        let pattern = Pattern::new(n, m).expect("valid");
        let (lefts, rights) = (rows.div_ceil(left), cols.div_ceil(right));
        let mut wrapper = |name: &str, len: usize, block: usize| -> Vec<u8> {
            let blocks = len.div_ceil(block);
            let entries = (0..blocks * block * block).map(|at| {
                let (index, i, j) = (at / (block * block), at / block % block, at % block);
                let used = block.min(len - index * block);
                if i < used && j < used { number(name) } else { 0.0 }
            });
            entries.flat_map(f32::to_le_bytes).collect()
        };
        let (a, b) = (wrapper("left", rows, left), wrapper("right", cols, right));
        let kept = cols / m * n;
        let values: Vec<u8> = (0..rows * kept).flat_map(|_| number("core").to_le_bytes()).collect();
        let mut bits = vec![0_u8; rows * cols.div_ceil(8)];
        for (row, group) in (0..rows).flat_map(|row| (0..cols / m).map(move |group| (row, group))) {
            let mask = mask(row, group);
            for j in (0..m).filter(|j| mask >> j & 1 == 1) {
                let column = group * m + j;
                bits[row * cols.div_ceil(8) + column / 8] |= 1 << (column % 8);
            }
        }
        let shape: Vec<u8> = [rows as i64, cols as i64].iter().flat_map(|x| x.to_le_bytes()).collect();
        let history = 1_f64.to_le_bytes();
        let tensors = [
            ("x.armor.left", Dtype::F32, vec![lefts, left, left], &a[..]),
            ("x.armor.right", Dtype::F32, vec![rights, right, right], &b),
            ("x.armor.core.compressed", Dtype::F32, vec![rows, kept], &values),
            ("x.armor.core.bitmask", Dtype::U8, vec![rows, cols.div_ceil(8)], &bits),
            ("x.armor.core.shape", Dtype::I64, vec![2], &shape),
            ("x.armor.history", Dtype::F64, vec![1], &history),
        ]
        .map(|(name, dtype, shape, data)| (name, TensorView::new(dtype, shape, data).expect("the shape fits")));
        let (left, right, pattern) = (left.to_string(), right.to_string(), pattern.to_string());
        let metadata: HashMap<String, String> = [
            ("armor.format", "2"),
            ("armor.pattern", &pattern),
            ("armor.left_block", &left),
            ("armor.right_block", &right),
            ("armor.loss", "1"),
            ("armor.nowag_p_loss", "1"),
            ("armor.stop_reason", "iterations"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        let bytes = safetensors::serialize(tensors, Some(metadata)).expect("the header fits");
        Factorization::from_safetensors(&bytes, "x").expect("sound")
    }
}

/// Vectors of mixed signs, one a row.
pub fn inputs(batch: usize, cols: usize, seed: u64) -> Array2<f32> {
    let mut random = Random::new(seed ^ 0x1717);
    Array2::from_shape_fn((batch, cols), |_| random.normal() as f32)
}

pub fn apply(packed: &PackedFactorization, x: &Array2<f32>) -> Array2<f32> {
    let mut y = Array2::from_elem((x.nrows(), packed.rows()), 7.0);
    let mut scratch = vec![f32::NAN; packed.scratch_len(x.nrows())];
    packed.apply_batch_into(x.view(), y.view_mut(), &mut scratch).expect("the sizes fit");
    y
}
