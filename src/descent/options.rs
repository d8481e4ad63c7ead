//! The options of a run: presets, fields, setters and ranges.

#[cfg(feature = "serde")]
pub(crate) mod changes;
#[cfg(feature = "serde")]
mod json;
#[cfg(feature = "serde")]
mod json_values;

use std::time::Duration;

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::factors::pattern::Pattern;
use crate::problem::proxy_loss::output_error::RowWeighting;

/// Which updates make up an iteration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Deserialize, Serialize), serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Method {
    /// Exact least squares for both wrappers, then a sweep that solves every group exactly.
    Exact,
    /// The paper's procedure: one joint Adam step, then one sampled group per block.
    Paper,
    /// The procedure of the paper's convergence proof: one gradient step of length 1/L on A, B and W', then one sampled
    /// group per block.
    Gradient,
}

/// Which output error a run minimises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(Deserialize, Serialize), serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Objective {
    /// The paper's objective: every input on its own, weighted by the Hessian's diagonal.
    Diagonal,
    /// The layer's output error under the whole Hessian, [`FullOutputError`](crate::FullOutputError).
    Full,
}

/// How a layer is factorised: a preset, [`Options::exact`] or [`Options::paper`], with some options changed.
///
/// Each option is a public field, and a method of the same name sets it. A setter takes any value;
/// [`Options::validate`], which every run calls first, refuses values out of range.
///
/// ```
/// use armor_core::{Options, Pattern};
/// let options = Options::exact().block(128).pattern(Pattern::new(4, 8)?).iterations(300).seed(7);
/// assert_eq!(options.left_block, 128);
/// options.validate()?;
/// assert!(Options::exact().iterations(0).validate().is_err());
/// # Ok::<(), armor_core::Error>(())
/// ```
#[cfg_attr(
    feature = "serde",
    doc = r#"
# JSON

With the feature `serde` options are an object with one key for each field. Enum values are lowercase words, the pattern
is a text such as `"2:4"`, `time_budget` is a number of seconds or `null`, and `memory_limit` is a number of bytes or
`null`. A reader may leave out every key. The key `preset` (`"exact"`, the default, or `"paper"`) says which preset the
missing options come from; the key `block`, a size p or a pair `[p, q]`, sets both block sizes, over which
`left_block` and `right_block` take precedence; `row_weighting` may be `null`. Unknown keys are refused.
A time budget below 97 days keeps every nanosecond; a longer one is rounded to the nearest double.
"#
)]
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(Serialize))]
#[non_exhaustive]
pub struct Options {
    /// Which updates make up an iteration. Default: the preset's, [`Method::Exact`] or [`Method::Paper`].
    pub method: Method,
    /// Which output error is minimised. Default: [`Objective::Diagonal`]. The full objective needs [`Method::Exact`] and
    /// a layer with a full Hessian, and takes O(m k²) operations an iteration.
    pub objective: Objective,
    /// Shrinkage α of the full Hessian towards its diagonal, H ← (1 − α) H + α diag(H). Default: 0.5, the best value on
    /// held-out text (`docs/benchmarks.md`); a small or narrow calibration text needs more. Range: 0 to 1.
    pub shrinkage: f64,
    /// Which rows' errors count more. `None`, the default, is [`RowWeighting::NoWag`] with the diagonal objective, which
    /// is the paper's proxy loss, and [`RowWeighting::Uniform`], the true output error, with the full one.
    pub row_weighting: Option<RowWeighting>,
    /// Most bytes of working memory that the full objective may add to the diagonal one's; `None`, the default, is no
    /// limit. Under a limit a run takes narrower tiles of columns, which is slower. The least that it needs is
    /// max(12 k² + 1024 k, 4 k² + 12 m k + tile) bytes, where `tile` is the memory of a tile of one block. Range: at least 1.
    pub memory_limit: Option<usize>,
    /// Rows of a block of the left wrapper, p. Default: 64 (`exact`), 128 (`paper`). Range: 1 to 4096.
    ///
    /// Larger blocks lower the loss and raise the overhead, m·p + k·q stored numbers. A block larger than the layer
    /// is the whole layer; where blocks do not divide it, the last one is smaller.
    pub left_block: usize,
    /// Columns of a block of the right wrapper, q. Default and range: as [`left_block`](field@Options::left_block), and
    /// a multiple of the pattern's M.
    pub right_block: usize,
    /// Sparsity pattern N:M of the core. Default: 2:4. The layer's columns must be a multiple of M.
    pub pattern: Pattern,
    /// Most iterations, and the length of the annealing schedule. Default: 120 (`exact`), 20,000 (`paper`). Range:
    /// 1 to 10,000,000.
    pub iterations: usize,
    /// Longest time a run may take; `None`, the default, is no limit. Range: above zero.
    ///
    /// The run ends after the first iteration that passes this time, and annealing cools in time to finish. A run that a
    /// budget shortens is not repeatable to the bit.
    #[cfg_attr(feature = "serde", serde(with = "json_values::seconds"))]
    pub time_budget: Option<Duration>,
    /// Relative fall of the loss that counts as progress. Default: 1e-6. Range: 0 to below 1.
    pub tolerance: f64,
    /// Iterations without progress, while not annealing, before the run stops as converged. Default: 100. Range: at
    /// least 1.
    pub patience: usize,
    /// Annealing temperature τ at the start, in units of the mean loss of one group. Default: 1.5 (`exact`), 0
    /// (`paper`). Range: 0 (greedy) to 100. Only [`Method::Exact`] anneals.
    pub temperature: f64,
    /// Largest extrapolation β_max: how far the factors move on along their last change before an iteration.
    /// Default: 0.95 (`exact`), 0 (`paper`). Range: 0 (none) to below 1. Only [`Method::Exact`] extrapolates.
    pub max_extrapolation: f64,
    /// Learning rate of [`Method::Paper`]'s Adam. Default: 1e-4. Range: above 0 to 1.
    pub learning_rate: f64,
    /// Seed of every random choice. Default: 0. The same seed gives the same bits for any number of threads.
    pub seed: u64,
    /// Worker threads. Default: 0, the rayon pool that the call runs in. Range: 0 to 1024.
    pub threads: usize,
}

impl Options {
    /// Returns the default preset: exact updates, annealed and extrapolated; blocks of 64, 120 iterations.
    pub fn exact() -> Self {
        Options {
            method: Method::Exact,
            objective: Objective::Diagonal,
            shrinkage: 0.5,
            row_weighting: None,
            memory_limit: None,
            left_block: 64,
            right_block: 64,
            pattern: Pattern::TWO_FOUR,
            iterations: 120,
            time_budget: None,
            tolerance: 1e-6,
            patience: 100,
            temperature: 1.5,
            max_extrapolation: 0.95,
            learning_rate: 1e-4,
            seed: 0,
            threads: 0,
        }
    }

    /// Returns the preset of the paper: Adam at 1e-4, one sampled group per block and iteration, blocks of 128, at most
    /// 20,000 iterations; a run stops when 100 iterations lower the loss by less than a factor 1e-6.
    pub fn paper() -> Self {
        Options {
            method: Method::Paper,
            left_block: 128,
            right_block: 128,
            iterations: 20_000,
            temperature: 0.0,
            max_extrapolation: 0.0,
            ..Self::exact()
        }
    }

    /// Sets [`method`](field@Options::method).
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// Sets [`objective`](field@Options::objective).
    pub fn objective(mut self, objective: Objective) -> Self {
        self.objective = objective;
        self
    }

    /// Sets [`shrinkage`](field@Options::shrinkage).
    pub fn shrinkage(mut self, alpha: f64) -> Self {
        self.shrinkage = alpha;
        self
    }

    /// Sets [`row_weighting`](field@Options::row_weighting).
    pub fn row_weighting(mut self, weighting: impl Into<Option<RowWeighting>>) -> Self {
        self.row_weighting = weighting.into();
        self
    }

    /// Sets [`memory_limit`](field@Options::memory_limit).
    pub fn memory_limit(mut self, bytes: Option<usize>) -> Self {
        self.memory_limit = bytes;
        self
    }

    /// Sets [`left_block`](field@Options::left_block) and [`right_block`](field@Options::right_block) to the same size.
    pub fn block(self, size: usize) -> Self {
        self.left_block(size).right_block(size)
    }

    /// Sets [`left_block`](field@Options::left_block).
    pub fn left_block(mut self, rows: usize) -> Self {
        self.left_block = rows;
        self
    }

    /// Sets [`right_block`](field@Options::right_block).
    pub fn right_block(mut self, cols: usize) -> Self {
        self.right_block = cols;
        self
    }

    /// Sets [`pattern`](field@Options::pattern).
    pub fn pattern(mut self, pattern: Pattern) -> Self {
        self.pattern = pattern;
        self
    }

    /// Sets [`iterations`](field@Options::iterations).
    pub fn iterations(mut self, iterations: usize) -> Self {
        self.iterations = iterations;
        self
    }

    /// Sets [`time_budget`](field@Options::time_budget).
    pub fn time_budget(mut self, budget: Option<Duration>) -> Self {
        self.time_budget = budget;
        self
    }

    /// Sets [`tolerance`](field@Options::tolerance).
    pub fn tolerance(mut self, tolerance: f64) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// Sets [`patience`](field@Options::patience).
    pub fn patience(mut self, iterations: usize) -> Self {
        self.patience = iterations;
        self
    }

    /// Sets [`temperature`](field@Options::temperature).
    pub fn temperature(mut self, tau: f64) -> Self {
        self.temperature = tau;
        self
    }

    /// Sets [`max_extrapolation`](field@Options::max_extrapolation).
    pub fn max_extrapolation(mut self, beta: f64) -> Self {
        self.max_extrapolation = beta;
        self
    }

    /// Sets [`learning_rate`](field@Options::learning_rate).
    pub fn learning_rate(mut self, rate: f64) -> Self {
        self.learning_rate = rate;
        self
    }

    /// Sets [`seed`](field@Options::seed).
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets [`threads`](field@Options::threads).
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Returns the row weighting of a run: [`row_weighting`](field@Options::row_weighting), or the objective's own where
    /// that is `None`.
    pub fn effective_row_weighting(&self) -> RowWeighting {
        self.row_weighting.unwrap_or(match self.objective {
            Objective::Diagonal => RowWeighting::NoWag,
            Objective::Full => RowWeighting::Uniform,
        })
    }

    /// Checks every option against its range, and whether the options fit together.
    ///
    /// # Errors
    /// [`Error::Option`] with the name of the first option that is out of range.
    pub fn validate(&self) -> Result<(), Error> {
        self.check_ranges()?;
        if self.objective == Objective::Full && self.method != Method::Exact {
            return refuse("method", format!("{:?}", self.method), "Exact for the full objective");
        }
        if !self.right_block.is_multiple_of(self.pattern.m()) {
            return refuse("right_block", self.right_block.to_string(), RIGHT_BLOCK_RANGE);
        }
        Ok(())
    }

    /// Checks every option against its range, but not the options against each other.
    ///
    /// # Errors
    /// [`Error::Option`] with the name of the first option that is out of range.
    pub(crate) fn check_ranges(&self) -> Result<(), Error> {
        if !(0.0..=1.0).contains(&self.shrinkage) {
            return refuse("shrinkage", self.shrinkage.to_string(), "0 to 1");
        }
        if self.memory_limit == Some(0) {
            return refuse("memory_limit", "0".to_owned(), "at least 1, or no limit");
        }
        if !(1..=4096).contains(&self.left_block) {
            return refuse("left_block", self.left_block.to_string(), "1 to 4096");
        }
        if !(1..=4096).contains(&self.right_block) {
            return refuse("right_block", self.right_block.to_string(), RIGHT_BLOCK_RANGE);
        }
        if !(1..=10_000_000).contains(&self.iterations) {
            return refuse("iterations", self.iterations.to_string(), "1 to 10,000,000");
        }
        if self.time_budget.is_some_and(|budget| budget.is_zero()) {
            return refuse("time_budget", "0 s".to_owned(), "a time above zero");
        }
        if !(0.0..1.0).contains(&self.tolerance) {
            return refuse("tolerance", self.tolerance.to_string(), "0 to below 1");
        }
        if self.patience == 0 {
            return refuse("patience", self.patience.to_string(), "at least 1");
        }
        if !(0.0..=100.0).contains(&self.temperature) {
            return refuse("temperature", self.temperature.to_string(), "0 to 100");
        }
        if !(0.0..1.0).contains(&self.max_extrapolation) {
            return refuse("max_extrapolation", self.max_extrapolation.to_string(), "0 to below 1");
        }
        if !(self.learning_rate > 0.0 && self.learning_rate <= 1.0) {
            return refuse("learning_rate", self.learning_rate.to_string(), "above 0 to 1");
        }
        if self.threads > 1024 {
            return refuse("threads", self.threads.to_string(), "0 to 1024");
        }
        Ok(())
    }
}

const RIGHT_BLOCK_RANGE: &str = "1 to 4096 and a multiple of the pattern's M";

fn refuse(name: &'static str, value: String, expected: &'static str) -> Result<(), Error> {
    Err(Error::Option { name, value, expected })
}

/// Converts a time above zero: at least a nanosecond, and at most the longest duration.
#[cfg(feature = "serde")]
pub(crate) fn positive_duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX).max(Duration::from_nanos(1))
}

impl Default for Options {
    fn default() -> Self {
        Self::exact()
    }
}
