//! The three packed factors together.

use crate::factors::precision::FactorPrecision;
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
    /// Packs each factor in its number type, on the current pool, or on the calling thread alone if `threads` is 1. All
    /// numbers must be within the range of the types.
    pub fn new(factors: &Factors, precision: FactorPrecision, threads: usize) -> Self {
        let FactorPrecision { left, core, right } = precision;
        PackedFactors {
            rows: factors.core.rows(),
            cols: factors.core.cols(),
            left: PackedWrapper::new(&factors.left, left, threads),
            core: PackedCore::new(&factors.core, core, threads),
            right: PackedWrapper::new(&factors.right, right, threads),
        }
    }

    /// Gives the factors back, their numbers as they were rounded, on the current pool.
    pub fn unpack(&self) -> Factors {
        let (left, (core, right)) = rayon::join(
            || self.left.unpack(),
            || rayon::join(|| self.core.unpack(self.right.partition()), || self.right.unpack()),
        );
        Factors { left, core, right }
    }

    /// Gives the number type of each factor.
    pub fn precision(&self) -> FactorPrecision {
        FactorPrecision { left: self.left.precision(), core: self.core.precision(), right: self.right.precision() }
    }

    /// Counts the bytes of each factor.
    pub fn bytes(&self) -> PackedBytes {
        PackedBytes { left: self.left.bytes(), core: self.core.bytes(), right: self.right.bytes() }
    }
}
