//! The side of a least-squares problem that its unknown stands on.

/// Where the unknown X of a least-squares problem stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// X · gram = rhs.
    LeftOfGram,
    /// gram · X = rhs.
    RightOfGram,
}
