//! The crate's error. Every variant names the argument and, for arrays, the first position that is wrong.

mod source;
pub(crate) mod text;

use thiserror::Error;

pub use source::{BoxError, SourceError};
use text::{plain, pool_of};

/// The reason why a call failed.
///
/// Every variant names the argument, says what was wrong with it and, for arrays, gives the first bad index in
/// row-major order. Nothing is written when an error is returned; wrong arguments are refused before anything is
/// computed. In messages, control characters in names and texts of files are written as escapes: `\u{1b}`.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The weight has no rows or no columns.
    #[error("weight: {rows} × {cols} has no entries")]
    EmptyWeight {
        /// Output features.
        rows: usize,
        /// Input features.
        cols: usize,
    },
    /// A weight is NaN, infinite, or too large for f32.
    #[error("weight: entry [{row}, {col}] is {value}, expected a finite f32 number")]
    WeightNotFinite {
        /// Row of the first such entry.
        row: usize,
        /// Its column.
        col: usize,
        /// Its value.
        value: f64,
    },
    /// `rows × cols` elements cannot be addressed.
    #[error("weight: {rows} × {cols} entries overflow the address space")]
    SizeOverflow {
        /// Output features.
        rows: usize,
        /// Input features.
        cols: usize,
    },
    /// The pattern does not divide the number of columns.
    #[error("weight: {cols} columns are not a multiple of {m}, the group of the {n}:{m} pattern")]
    ColumnsNotMultiple {
        /// Input features.
        cols: usize,
        /// Kept entries of a group.
        n: usize,
        /// Entries of a group.
        m: usize,
    },
    /// The Hessian and the weight have different numbers of inputs.
    #[error("hessian: covers {len} inputs, but the weight has {cols} columns")]
    HessianLength {
        /// Inputs that the Hessian covers.
        len: usize,
        /// Columns of the weight.
        cols: usize,
    },
    /// A full Hessian must be square.
    #[error("hessian: {rows} × {cols} is not square")]
    HessianNotSquare {
        /// Rows given.
        rows: usize,
        /// Columns given.
        cols: usize,
    },
    /// A Hessian entry is NaN, infinite, or too large for f32.
    #[error("hessian: entry [{row}, {col}] is {value}, expected a finite f32 number")]
    HessianNotFinite {
        /// Row of the first such entry.
        row: usize,
        /// Its column.
        col: usize,
        /// Its value.
        value: f64,
    },
    /// A mean of squares cannot be negative.
    #[error("hessian: diagonal entry {index} is {value}, expected a non-negative number")]
    HessianNegative {
        /// Position of the first such entry on the diagonal.
        index: usize,
        /// Its value.
        value: f64,
    },
    /// A full Hessian must be symmetric.
    #[error("hessian: entry [{row}, {col}] is {value}, but [{col}, {row}] is {mirrored}, expected a symmetric matrix")]
    HessianAsymmetric {
        /// Row of the first such entry.
        row: usize,
        /// Its column.
        col: usize,
        /// Its value.
        value: f64,
        /// The value at the mirrored position.
        mirrored: f64,
    },
    /// An entry of the Hessian is larger than the diagonal entries of its row and column allow, so no inputs have this
    /// Hessian.
    #[error(
        "hessian: entry [{row}, {col}] is {value}, beyond √(H_ii H_jj) = {bound}: no inputs have this second moment"
    )]
    HessianIndefinite {
        /// Row of the first such entry.
        row: usize,
        /// Its column.
        col: usize,
        /// Its value.
        value: f64,
        /// The largest magnitude that the entry can have.
        bound: f64,
    },
    /// The full Hessian is needed, but only its diagonal is known.
    #[error("hessian: only its diagonal is known, but {needed_by} needs all of it")]
    HessianNotFull {
        /// Name of the part that needs the full Hessian.
        needed_by: &'static str,
    },
    /// No ridge that is allowed makes the Hessian positive definite, so it is the second moment of no inputs.
    #[error("hessian: has no Cholesky factorisation even with a ridge of {ridge} times the mean of its diagonal")]
    HessianNotSemidefinite {
        /// The largest ridge that was tried.
        ridge: f64,
    },
    /// An activation is NaN, infinite, or so large that sums of its square exceed the range of f32.
    #[error("{argument}: entry [{token}, {input}] is {value}, expected a number within ±{largest:e}")]
    Activation {
        /// The argument's name.
        argument: &'static str,
        /// Row of the first such entry.
        token: usize,
        /// Its column.
        input: usize,
        /// Its value.
        value: f64,
        /// Largest magnitude allowed.
        largest: f32,
    },
    /// Activations or an accumulator have another number of inputs than expected.
    #[error("{argument}: covers {found} inputs, expected {expected}")]
    Inputs {
        /// The argument's name.
        argument: &'static str,
        /// Inputs that it covers.
        found: usize,
        /// Inputs that it should cover.
        expected: usize,
    },
    /// The inputs of two models must be those of the same tokens.
    #[error("{argument}: has {found} tokens, expected {expected}")]
    Tokens {
        /// The argument's name.
        argument: &'static str,
        /// Tokens that it has.
        found: usize,
        /// Tokens that it should have.
        expected: usize,
    },
    /// An accumulator of the diagonal and one of the whole matrix cannot be merged.
    #[error("{argument}: accumulates {found}, expected {expected}")]
    HessianKind {
        /// The argument's name.
        argument: &'static str,
        /// What the argument accumulates.
        found: &'static str,
        /// What the argument should accumulate.
        expected: &'static str,
    },
    /// No tokens were added, so the mean is undefined.
    #[error("accumulator: no tokens were added")]
    NoTokens,
    /// The working memory would exceed the limit.
    #[error("option memory_limit: is {limit} bytes, but a {rows} × {cols} layer needs {needed}")]
    MemoryLimit {
        /// Bytes allowed.
        limit: usize,
        /// Fewest bytes needed.
        needed: usize,
        /// Output features.
        rows: usize,
        /// Input features.
        cols: usize,
    },
    /// A part of the descent supports separable losses only, but the loss couples errors at different inputs.
    #[error("{part}: works with separable losses only, not with one that couples inputs through the full Hessian")]
    Coupled {
        /// The part's name.
        part: &'static str,
    },
    /// A part of the descent that the caller implements returned an error, which is the source of this one.
    #[error("{role}: {source}")]
    Part {
        /// The part's role: `proxy_loss`, `initial_mask`, `wrapper_update` or `core_update`.
        role: &'static str,
        /// The part's own error.
        source: SourceError,
    },
    /// A part of the descent that the caller implements replaced a factor by one of another shape.
    #[error("{role}: leaves a {factor} factor of {found}, expected {expected}")]
    FactorShape {
        /// The part's role, as in [`Error::Part`].
        role: &'static str,
        /// The factor: `left`, `core` or `right`.
        factor: &'static str,
        /// Its shape.
        found: Box<str>,
        /// The shape that the layer and the block sizes require.
        expected: Box<str>,
    },
    /// The initial mask left values whose loss is NaN or infinite.
    #[error("initial_mask: leaves a loss of {loss}, expected a finite number")]
    StartingLoss {
        /// The absolute loss.
        loss: f64,
    },
    /// The scales of a loss leave the range of the numbers that losses are computed in.
    #[error("proxy_loss: the loss of a zero matrix is {energy}, expected a positive finite number")]
    LossScale {
        /// The absolute loss at Ŵ = 0.
        energy: f64,
    },
    /// The sparsity pattern is not N:M with 0 < N < M ≤ 8.
    #[error("pattern: {n}:{m} is not N:M with 0 < N < M ≤ 8")]
    Pattern {
        /// Kept entries of a group.
        n: usize,
        /// Entries of a group.
        m: usize,
    },
    /// A pattern's text is not of the form `N:M`.
    #[error("pattern: \"{text}\" is not of the form N:M")]
    PatternText {
        /// The text given.
        text: String,
    },
    /// A name is unknown.
    #[error("{what}: \"{}\" is unknown, expected {expected}", plain(text))]
    UnknownName {
        /// Kind of the name, for instance `format`.
        what: &'static str,
        /// The text given.
        text: String,
        /// The names that are known.
        expected: String,
    },
    /// An option lies outside its range.
    #[error("option {name}: {value} is out of range, expected {expected}")]
    Option {
        /// The option's name, as its setter is called.
        name: &'static str,
        /// The value given.
        value: String,
        /// The range it must lie in.
        expected: &'static str,
    },
    /// A matrix or vector has the wrong size.
    #[error("{argument}: has length {found}, expected {expected}")]
    Length {
        /// The argument's name.
        argument: &'static str,
        /// Its length.
        found: usize,
        /// The length needed.
        expected: usize,
    },
    /// An entry that must be a positive finite number is not.
    #[error("{argument}: entry {index} is {value}, expected a positive finite number")]
    NotPositive {
        /// The argument's name.
        argument: &'static str,
        /// Position of the first such entry.
        index: usize,
        /// Its value.
        value: f64,
    },
    /// An entry that must be a finite number, not negative, is another one.
    #[error("{argument}: entry {index} is {value}, expected a finite number, not negative")]
    Negative {
        /// The argument's name.
        argument: &'static str,
        /// Position of the first such entry.
        index: usize,
        /// Its value.
        value: f64,
    },
    /// All entries are zero where at least one must be positive.
    #[error("{argument}: all entries are 0, expected at least one positive number")]
    AllZero {
        /// The argument's name.
        argument: &'static str,
    },
    /// A group's kept positions are not exactly N distinct positions below M.
    #[error("mask: {mask:#010b} of row {row}, group {group} does not keep {n} of {m}")]
    GroupMask {
        /// Row of the core.
        row: usize,
        /// Group within the row.
        group: usize,
        /// Kept positions, bit j for column j of the group.
        mask: u8,
        /// Entries that must be kept.
        n: usize,
        /// Entries of a group.
        m: usize,
    },
    /// The worker threads could not be started.
    #[error("threads: could not start {}: {reason}", pool_of(*threads))]
    Threads {
        /// Threads asked for; 0 is the process's own pool.
        threads: usize,
        /// The operating system's message.
        reason: String,
    },
    /// Bytes do not hold a factorisation or an accumulator.
    #[error("bytes: {}: {}", plain(key), plain(problem))]
    Bytes {
        /// The tensor or metadata key that is wrong, or `header`.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// JSON is malformed, or one of its values is refused.
    #[error("json: {}: {}", plain(key), plain(problem))]
    Json {
        /// The key whose value is refused, or `document` for an error of the whole text.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An entry of a matrix that replaces the weight is NaN or infinite.
    #[error("{argument}: entry [{row}, {col}] is {value}, expected a finite f32 number")]
    NotFinite {
        /// The argument's name.
        argument: &'static str,
        /// Row of the first such entry.
        row: usize,
        /// Its column.
        col: usize,
        /// Its value.
        value: f64,
    },
    /// A number of a factor, of the product of all three, or of a corrected weight rounds to an infinity in the type that it
    /// is to be stored in.
    #[error("{argument}: entry [{row}, {col}] is {value}, beyond the range of {dtype}")]
    Overflow {
        /// The factor, `left`, `core` or `right`; or `weight`, the product or the corrected weight.
        argument: &'static str,
        /// Row of the first such entry.
        row: usize,
        /// Its column.
        col: usize,
        /// Its value.
        value: f32,
        /// The number type.
        dtype: &'static str,
    },
    /// A format cannot hold a core of this shape or pattern, or factors of these number types.
    #[error("format {format}: {problem}")]
    Format {
        /// The format.
        format: &'static str,
        /// What does not fit.
        problem: String,
    },
}

impl Error {
    /// Converts the error of a part with this role: an [`Error`] stays as it is, any other becomes the source of an
    /// [`Error::Part`].
    pub(crate) fn of_part(role: &'static str, error: BoxError) -> Self {
        match error.downcast::<Error>() {
            Ok(own) => *own,
            Err(other) => Error::Part { role, source: other.into() },
        }
    }

    /// Finds the item whose name is `text`; `what` is the kind of the name.
    ///
    /// # Errors
    /// [`Error::UnknownName`] with all known names.
    pub(crate) fn by_name<T: Copy>(
        what: &'static str,
        text: &str,
        all: &[T],
        name: fn(T) -> &'static str,
    ) -> Result<T, Error> {
        all.iter().copied().find(|&item| name(item) == text).ok_or_else(|| {
            let names: Vec<&str> = all.iter().map(|&item| name(item)).collect();
            Error::UnknownName { what, text: text.to_owned(), expected: names.join(", ") }
        })
    }
}
