//! The packed core, in one of two forms.

use crate::factors::partition::Partition;
use crate::factors::pattern::Pattern;
use crate::factors::precision::Precision;
use crate::factors::sparse_core::SparseCore;
use crate::packed::any_pattern::AnyPatternCore;
use crate::packed::two_four_core::TwoFourCore;

/// A packed core: in strips for the fast kernels if its pattern is 2:4, by rows if it is another.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum PackedCore {
    TwoFour(TwoFourCore),
    AnyPattern(AnyPatternCore),
}

impl PackedCore {
    /// Packs a core.
    pub fn new(core: &SparseCore, precision: Precision, threads: usize) -> Self {
        match core.pattern() {
            Pattern::TWO_FOUR => PackedCore::TwoFour(TwoFourCore::new(core, precision, threads)),
            _ => PackedCore::AnyPattern(AnyPatternCore::new(core, precision)),
        }
    }

    /// Gives the core back, its values as they were rounded, for a right wrapper with these blocks.
    pub fn unpack(&self, blocks: Partition) -> SparseCore {
        match self {
            PackedCore::TwoFour(core) => core.unpack(blocks),
            PackedCore::AnyPattern(core) => core.unpack(blocks),
        }
    }

    /// Gives the number type of the kept values.
    pub fn precision(&self) -> Precision {
        match self {
            PackedCore::TwoFour(core) => core.precision(),
            PackedCore::AnyPattern(core) => core.precision(),
        }
    }

    /// Counts the pieces that one thread multiplies at a time: strips, or rows.
    pub fn pieces(&self) -> usize {
        match self {
            PackedCore::TwoFour(core) => core.strips(),
            PackedCore::AnyPattern(core) => core.rows(),
        }
    }

    /// Counts the bytes of values and positions.
    pub fn bytes(&self) -> usize {
        match self {
            PackedCore::TwoFour(core) => core.bytes(),
            PackedCore::AnyPattern(core) => core.bytes(),
        }
    }
}
