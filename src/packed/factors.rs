//! The three packed factors together.

use crate::factors::precision::Precision;
use crate::factors::triple::Factors;
use crate::packed::bytes::PackedBytes;
use crate::packed::core::PackedCore;
use crate::packed::wrapper::PackedWrapper;

/// A, S and B of one layer, packed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct PackedFactors {
    /// Outputs of the layer, m.
    pub rows: usize,
    /// Inputs of the layer, k.
    pub cols: usize,
    pub left: PackedWrapper,
    pub core: PackedCore,
    pub right: PackedWrapper,
}

impl PackedFactors {
    /// Packs factors on the current pool, or on the calling thread alone if `threads` is 1.
    pub fn new(factors: &Factors, precision: Precision, threads: usize) -> Self {
        PackedFactors {
            rows: factors.core.rows(),
            cols: factors.core.cols(),
            left: PackedWrapper::new(&factors.left, precision, threads),
            core: PackedCore::new(&factors.core, precision, threads),
            right: PackedWrapper::new(&factors.right, precision, threads),
        }
    }

    /// Counts the bytes of each factor.
    pub fn bytes(&self) -> PackedBytes {
        PackedBytes { left: self.left.bytes(), core: self.core.bytes(), right: self.right.bytes() }
    }
}
