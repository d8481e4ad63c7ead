//! The layout `factors`: wrappers, kept values, bitmask.

use safetensors::Dtype;

use crate::bytes::header::Words;
use crate::bytes::reader::origin;
use crate::factors::block_diagonal::BlockDiagonal;
use crate::factors::precision::{FactorPrecision, Precision};
use crate::factors::sparse_core::SparseCore;
use crate::result::factorization::Factorization;
use crate::result::formats::tensor::Tensor;

/// Returns what the tensors do not contain. Every key but `armor.format` and `armor.writer` starts with `prefix`.
pub(crate) fn metadata(factorization: &Factorization, prefix: &str) -> Words {
    let own = [
        ("pattern", factorization.core().pattern().to_string()),
        ("left_block", factorization.left().block_size().to_string()),
        ("right_block", factorization.right().block_size().to_string()),
        ("loss", factorization.loss().to_string()),
        ("nowag_p_loss", factorization.nowag_p_loss().to_string()),
        ("ridge", factorization.ridge().to_string()),
        ("dead_inputs", factorization.dead_inputs().to_string()),
        ("stop_reason", factorization.stop_reason().as_str().to_owned()),
    ];
    let own = own.into_iter().map(|(key, value)| (format!("{prefix}armor.{key}"), value));
    own.chain(origin()).collect()
}

/// Gives both wrappers, [blocks, p, p] and [blocks, q, q], each in its own number type.
pub(super) fn wrappers<'a>(
    factorization: &'a Factorization,
    name: &str,
    FactorPrecision { left, right, .. }: FactorPrecision,
) -> Vec<Tensor<'a>> {
    let wrapper = |part: &str, wrapper: &'a BlockDiagonal, precision: Precision| {
        let size = wrapper.block_size();
        let shape = [wrapper.blocks(), size, size];
        Tensor::new(format!("{name}.armor.{part}"), precision.dtype(), shape, move || {
            Ok(precision.bytes(&wrapper.to_padded()))
        })
    };
    vec![wrapper("left", factorization.left(), left), wrapper("right", factorization.right(), right)]
}

/// Gives the core: kept values, the bitmask of their columns, and the shape.
pub(super) fn core<'a>(core: &'a SparseCore, name: &str, precision: Precision) -> [Tensor<'a>; 3] {
    let name = format!("{name}.armor.core");
    [
        values(core, format!("{name}.compressed"), precision),
        bitmask(core, format!("{name}.bitmask")),
        shape(core, format!("{name}.shape"), [2]),
    ]
}

/// Gives the kept values, [m, kN/M], by row in ascending column order.
pub(super) fn values(core: &SparseCore, name: String, precision: Precision) -> Tensor<'_> {
    let kept = core.pattern().kept(core.cols());
    Tensor::new(name, precision.dtype(), [core.rows(), kept], move || Ok(precision.bytes(&core.to_compressed())))
}

/// Gives the bitmask of the kept columns, [m, ⌈k/8⌉].
pub(super) fn bitmask(core: &SparseCore, name: String) -> Tensor<'_> {
    let shape = [core.rows(), core.cols().div_ceil(8)];
    Tensor::new(name, Dtype::U8, shape, move || Ok(core.to_bitmask().into_raw_vec_and_offset().0))
}

/// Gives m and k as a tensor of the shape `axes`.
pub(super) fn shape(core: &SparseCore, name: String, axes: impl Into<Vec<usize>>) -> Tensor<'_> {
    let shape = [core.rows() as i64, core.cols() as i64];
    Tensor::new(name, Dtype::I64, axes, move || Ok(shape.iter().flat_map(|x| x.to_le_bytes()).collect()))
}

/// Gives the loss after every iteration.
pub(super) fn history<'a>(factorization: &'a Factorization, name: &str) -> Tensor<'a> {
    let history = factorization.history();
    Tensor::new(format!("{name}.armor.history"), Dtype::F64, [history.len()], move || {
        Ok(history.iter().flat_map(|x| x.to_le_bytes()).collect())
    })
}
