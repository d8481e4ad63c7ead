//! Factorisations with random factors, for what only their sizes matter to.

use std::collections::HashMap;

use armor_core::Factorization;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use crate::common::Random;

/// A factorisation of a `rows` × `cols` layer in 2:4 with square blocks of `block`: normal numbers, random masks.
///
/// It comes through the door of files: a descent on a layer of a large model takes minutes.
pub fn random_factors(rows: usize, cols: usize, block: usize) -> Factorization {
    let mut random = Random((rows as u64) << 32 | cols as u64 | 1);
    let mut floats = |count: usize, scale: f64| -> Vec<u8> {
        (0..count).flat_map(|_| ((scale * random.normal()) as f32).to_le_bytes()).collect()
    };
    let (lefts, rights) = (rows / block, cols / block);
    assert!(rows.is_multiple_of(block) && cols.is_multiple_of(block), "{rows} × {cols} has ragged blocks of {block}");
    let scale = 1.0 / (block as f64).sqrt();
    let left = floats(lefts * block * block, scale);
    let right = floats(rights * block * block, scale);
    let values = floats(rows * cols / 2, 1.0);
    let masks = [0b0011_u8, 0b0101, 0b1001, 0b0110, 0b1010, 0b1100];
    let mut mask = || masks[(random.uniform() * 6.0) as usize];
    let bitmask: Vec<u8> = (0..rows * cols / 8).map(|_| mask() | mask() << 4).collect();
    let shape: Vec<u8> = [rows as i64, cols as i64].iter().flat_map(|x| x.to_le_bytes()).collect();
    let history = 1_f64.to_le_bytes();
    let tensors = [
        ("x.armor.left", Dtype::F32, vec![lefts, block, block], &left[..]),
        ("x.armor.right", Dtype::F32, vec![rights, block, block], &right),
        ("x.armor.core.compressed", Dtype::F32, vec![rows, cols / 2], &values),
        ("x.armor.core.bitmask", Dtype::U8, vec![rows, cols / 8], &bitmask),
        ("x.armor.core.shape", Dtype::I64, vec![2], &shape),
        ("x.armor.history", Dtype::F64, vec![1], &history),
    ]
    .map(|(name, dtype, shape, data)| (name, TensorView::new(dtype, shape, data).expect("the shape fits")));
    let block = block.to_string();
    let metadata = [
        ("armor.format", "2"),
        ("armor.pattern", "2:4"),
        ("armor.left_block", &block),
        ("armor.right_block", &block),
        ("armor.loss", "1"),
        ("armor.nowag_p_loss", "1"),
        ("armor.stop_reason", "iterations"),
    ];
    let metadata: HashMap<String, String> =
        metadata.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let bytes = safetensors::serialize(tensors, Some(metadata)).expect("the header fits");
    Factorization::from_safetensors(&bytes, "x").expect("the file is sound")
}
