//! The core alone, dense or with a bitmask, and the dense matrix that replaces the weight.

use crate::factors::precision::Precision;
use crate::factors::range::check_weight;
use crate::factors::sparse_core::SparseCore;
use crate::result::factorization::Factorization;
use crate::result::formats::factors;
use crate::result::formats::tensor::Tensor;

/// Gives the core with its zeros, m × k.
pub(super) fn dense<'a>(core: &'a SparseCore, name: &str, precision: Precision) -> Tensor<'a> {
    let shape = [core.rows(), core.cols()];
    Tensor::new(format!("{name}.armor.core.dense"), precision.dtype(), shape, move || {
        Ok(precision.bytes(&core.to_dense()))
    })
}

/// Gives the core under the names of compressed-tensors: kept values, bitmask and shape are parameters of the module
/// itself.
pub(super) fn sparse_bitmask<'a>(core: &'a SparseCore, name: &str, precision: Precision) -> [Tensor<'a>; 3] {
    [
        factors::values(core, format!("{name}.compressed"), precision),
        factors::bitmask(core, format!("{name}.bitmask")),
        factors::shape(core, format!("{name}.shape"), [2, 1]),
    ]
}

/// Gives A S B, m × k, under the name of the weight. Its bytes are an error if an entry is beyond the range of the type.
pub(super) fn reconstructed<'a>(factorization: &'a Factorization, name: &str, precision: Precision) -> Tensor<'a> {
    let shape = [factorization.core().rows(), factorization.core().cols()];
    Tensor::new(format!("{name}.weight"), precision.dtype(), shape, move || {
        let weight = factorization.reconstruct();
        check_weight(&weight, precision)?;
        Ok(precision.bytes(&weight))
    })
}
