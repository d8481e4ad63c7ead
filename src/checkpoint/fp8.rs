//! Weights in FP8 (E4M3) with scales in a tensor of their own: W_ij = scale · value.

use float8::F8E4M3;
use ndarray::Array2;
use safetensors::Dtype;

use super::shard::MappedTensor;

/// Rows and columns that share a scale of `T.weight_scale_inv`.
pub(super) const BLOCK: usize = 128;

/// Multiplies the values of a weight by their scales, whose shape was checked when the job was opened.
pub(super) fn dequantized(weight: &MappedTensor, scale: &MappedTensor) -> Array2<f32> {
    let scales: Vec<f32> = match scale.dtype {
        Dtype::F32 => scale.values::<f32>().to_vec(),
        _ => scale.values::<half::bf16>().iter().map(|scale| scale.to_f32()).collect(),
    };
    let (rows, cols) = (weight.shape[0], weight.shape[1]);
    let across = cols.div_ceil(BLOCK);
    let is_of_blocks = scale.shape.len() == 2 && scale.shape != [rows, 1];
    let scale_at = |row: usize, col: usize| match scales.len() {
        1 => scales[0],
        _ if is_of_blocks => scales[row / BLOCK * across + col / BLOCK],
        _ => scales[row],
    };
    let values = weight.bytes();
    Array2::from_shape_fn((rows, cols), |(row, col)| {
        F8E4M3::from_bits(values[row * cols + col]).to_f32() * scale_at(row, col)
    })
}
