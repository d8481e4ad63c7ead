//! How much memory a packed factorisation takes.

/// Bytes of a [`PackedFactorization`](crate::PackedFactorization), by factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PackedBytes {
    /// The left wrapper A.
    pub left: usize,
    /// Values and positions of the core S.
    pub core: usize,
    /// The right wrapper B.
    pub right: usize,
}

impl PackedBytes {
    /// Adds up the bytes of the three factors.
    pub fn total(self) -> usize {
        self.left + self.core + self.right
    }
}
