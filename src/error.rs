//! What can go wrong, always with the argument's name and the first offending position.

mod source;

use thiserror::Error;

pub use source::{BoxError, SourceError};

/// Why a call was refused.
///
/// Every variant names the argument, says what was wrong with it and, for arrays, gives the first bad index in
/// row-major order. Nothing is computed and nothing is written when an error is returned. In messages, control characters
/// of names are escaped: `\u{1b}`.
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
    /// The Hessian does not belong to a weight of this width.
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
        /// The value on the other side of the diagonal.
        mirrored: f64,
    },
    /// No inputs have such a Hessian: an entry is larger than its row's and column's diagonal entries allow.
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
        /// The largest magnitude it can have.
        bound: f64,
    },
    /// The full Hessian is needed, and only its diagonal is known.
    #[error("hessian: only its diagonal is known, but {needed_by} needs all of it")]
    HessianNotFull {
        /// What needs it.
        needed_by: &'static str,
    },
    /// An activation is NaN, infinite, or so large that sums of its square leave f32.
    #[error("activations: entry [{token}, {input}] is {value}, expected a number within ±1e18")]
    Activation {
        /// Row of the first such entry.
        token: usize,
        /// Its column.
        input: usize,
        /// Its value.
        value: f64,
    },
    /// Activations or an accumulator do not belong to a layer of so many inputs.
    #[error("{argument}: covers {found} inputs, expected {expected}")]
    Inputs {
        /// The argument's name.
        argument: &'static str,
        /// Inputs that it covers.
        found: usize,
        /// Inputs that it should cover.
        expected: usize,
    },
    /// Accumulators of the diagonal and of the whole matrix do not mix.
    #[error("{argument}: accumulates {found}, expected {expected}")]
    HessianKind {
        /// The argument's name.
        argument: &'static str,
        /// What it accumulates.
        found: &'static str,
        /// What it should.
        expected: &'static str,
    },
    /// There is no mean over no tokens.
    #[error("accumulator: no tokens were added")]
    NoTokens,
    /// The working memory would pass the limit.
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
    /// A part of the descent cannot work with a loss whose errors couple.
    #[error("{part}: works with separable losses only, not with one that couples inputs through the full Hessian")]
    Coupled {
        /// The part's name.
        part: &'static str,
    },
    /// A part of a caller's own returned an error, which is the source of this one.
    #[error("{role}: {source}")]
    Part {
        /// The part's role: `proxy_loss`, `initial_mask`, `wrapper_update` or `core_update`.
        role: &'static str,
        /// The part's own error.
        source: SourceError,
    },
    /// A part of a caller's own replaced a factor by one of another shape.
    #[error("{factor}: is {found} after an update, expected {expected}")]
    FactorShape {
        /// The factor: `left`, `core` or `right`.
        factor: &'static str,
        /// Its shape.
        found: String,
        /// The shape that the layer and its blocks ask for.
        expected: String,
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
    /// A name is none of those that are known.
    #[error("{what}: \"{}\" is unknown, expected {expected}", plain(text))]
    UnknownName {
        /// What is named, `format` for instance.
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
    /// A factor's entry is beyond the number type that it is to be packed in.
    #[error("{argument}: entry [{row}, {col}] is {value}, beyond the range of {precision}")]
    Precision {
        /// The factor: `left`, `core` or `right`.
        argument: &'static str,
        /// Row of the first such entry.
        row: usize,
        /// Its column.
        col: usize,
        /// Its value.
        value: f32,
        /// The number type.
        precision: &'static str,
    },
    /// The worker threads could not be started.
    #[error("threads: could not start {}: {reason}", pool_of(*threads))]
    Threads {
        /// Threads asked for; 0 is the process's own pool.
        threads: usize,
        /// What the system said.
        reason: String,
    },
    /// Bytes do not hold a factorisation or an accumulator.
    #[error("bytes: {}: {}", plain(key), plain(problem))]
    Bytes {
        /// The tensor or metadata key that is at fault, or `header`.
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
    /// A value cannot be stored in a type of fewer bits.
    #[error("{part}: value {index} is {value}, beyond the range of {dtype}")]
    Overflow {
        /// Which factor: `left`, `right`, `core` or `weight`.
        part: &'static str,
        /// Position of the first such value, in storage order.
        index: usize,
        /// The value.
        value: f32,
        /// The type it does not fit.
        dtype: &'static str,
    },
    /// A format cannot hold a core of this shape or pattern.
    #[error("format {format}: {problem}")]
    Format {
        /// The format.
        format: &'static str,
        /// What does not fit.
        problem: String,
    },
    /// The settings of a job are no JSON, or one of them is wrong.
    #[error("settings: {}", plain(problem))]
    Settings {
        /// Which one, and what is wrong with it.
        problem: String,
    },
    /// A file or folder cannot be read or written.
    #[error("{}: {}", plain(path), plain(problem))]
    File {
        /// The file or folder.
        path: String,
        /// What the system said.
        problem: String,
    },
    /// A file does not hold the tensors that it should.
    #[error("{}: {}: {}", plain(file), plain(tensor), plain(problem))]
    Tensor {
        /// The file.
        file: String,
        /// The tensor, or `header`.
        tensor: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A tensor of a file was refused for its values.
    #[error("{}: {}: {error}", plain(file), plain(tensor))]
    InTensor {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// Why it was refused.
        error: Box<Error>,
    },
    /// The output folder holds something else than this job.
    #[error("{}: {}", plain(path), plain(problem))]
    OtherJob {
        /// The folder, or the file in it.
        path: String,
        /// What it holds.
        problem: String,
    },
    /// A job is not as far as the call needs it to be.
    #[error("job: {}", plain(problem))]
    Unfinished {
        /// What is missing.
        problem: String,
    },
    /// The observer cancelled a layer of a job; nothing of it was kept.
    #[error("job: cancelled")]
    Cancelled,
}

impl Error {
    /// The error of a part with this role: the crate's own as it is, any other as the source of [`Error::Part`].
    pub(crate) fn of_part(role: &'static str, error: BoxError) -> Self {
        match error.downcast::<Error>() {
            Ok(own) => *own,
            Err(other) => Error::Part { role, source: other.into() },
        }
    }

    /// Finds what is called `text` among `all`.
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

    /// What was wrong with a tensor, without its name; any other error itself.
    pub fn cause(&self) -> &Error {
        match self {
            Error::InTensor { error, .. } => error.cause(),
            other => other,
        }
    }
}

fn pool_of(threads: usize) -> String {
    match threads {
        0 => "the process's worker threads".to_owned(),
        threads => format!("{threads} worker threads"),
    }
}

/// Text of files, with escapes for the control characters that a terminal would obey.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for char in text.chars() {
        match char.is_control() {
            true => plain.extend(char.escape_default()),
            false => plain.push(char),
        }
    }
    plain
}
