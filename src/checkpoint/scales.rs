//! The tensors with the scales of weights in FP8.

use safetensors::Dtype;

use super::error::{CheckpointError, tensor_error};
use super::fp8::BLOCK;
use super::source::Source;
use super::tensor_names::stem;

/// The endings of the tensors of scales: of blocks, of rows or of the whole weight, and of a layer's inputs.
const OF_BLOCKS: &str = "weight_scale_inv";
const OF_ROWS: &str = "weight_scale";
const OF_INPUTS: &str = "input_scale";

/// Returns the weight in FP8 that a tensor of scales belongs to, if it is one.
pub(super) fn weight_of_scale(checkpoint: &Source, name: &str) -> Option<String> {
    let (stem, ending) = name.rsplit_once('.')?;
    let weight = format!("{stem}.weight");
    let is_fp8 = || checkpoint.info(&weight).is_some_and(|(_, info)| info.dtype == Dtype::F8_E4M3);
    ([OF_BLOCKS, OF_ROWS, OF_INPUTS].contains(&ending) && is_fp8()).then_some(weight)
}

/// Finds the tensor of scales of the weight `name`, rows × cols, and checks its shape.
///
/// # Errors
/// [`CheckpointError::Tensor`] where there is none, or of another shape or number type.
pub(super) fn scale_of(checkpoint: &Source, name: &str, [rows, cols]: [usize; 2]) -> Result<String, CheckpointError> {
    let names = [OF_BLOCKS, OF_ROWS].map(|ending| format!("{}.{ending}", stem(name)));
    let Some(scale) = names.iter().find(|name| checkpoint.shard(name).is_some()) else {
        let problem = format!("is F8_E4M3, but there is no {}", names.join(" or "));
        return Err(tensor_error(&checkpoint.file_of(name), name, problem));
    };
    let (file, info) = checkpoint.info(scale).expect("the name was found");
    let expected = match scale.ends_with(OF_BLOCKS) {
        true => vec![vec![rows.div_ceil(BLOCK), cols.div_ceil(BLOCK)]],
        false => vec![vec![rows, 1], vec![rows], vec![1], vec![]],
    };
    if !expected.contains(&info.shape) {
        let expected: Vec<String> = expected.iter().map(|shape| format!("{shape:?}")).collect();
        let problem = format!("has shape {:?}, expected {} for {name}", info.shape, expected.join(" or "));
        return Err(tensor_error(&file, scale, problem));
    }
    if !matches!(info.dtype, Dtype::F32 | Dtype::BF16) {
        return Err(tensor_error(&file, scale, format!("is {:?}, expected F32 or BF16", info.dtype)));
    }
    Ok(scale.clone())
}
