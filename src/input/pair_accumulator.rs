//! The second moments of a layer's inputs in two models, the dense and the compressed one, accumulated over batches.

#[cfg(feature = "safetensors")]
mod serialize;

use ndarray::{ArrayBase, ArrayView2, Data, Ix2, s};
use std::ops::Range;

use crate::error::Error;
use crate::input::activations::check;
use crate::input::pair_moments::PairMoments;
use crate::input::triangle::Triangle;
use crate::input::weight::Element;
use crate::kernels::pool;
use crate::kernels::scratch::with_scratch;

/// Largest magnitude that an activation may have: f32 still holds the sum of the squares of a run of differences.
const LARGEST: f32 = 5e17;

/// Adds up the second moments of pairs (x, x̂) over N calibration tokens: x is the input of a layer in the dense model, and
/// x̂ the input of the same layer, for the same token, where the layers before it are compressed already.
///
/// A layer of the compressed model never sees x. [`PairAccumulator::moments`] gives the Hessian Ĥ = E\[x̂ x̂ᵀ\] of what it
/// sees, and [`PairMoments::correct`] the weight that makes up for the difference.
///
/// What is added up is z zᵀ, where z stacks the difference d = x − x̂ and x̂, 2k numbers. Its parts are E\[d dᵀ\],
/// Δ = E\[d x̂ᵀ\] and Ĥ. The difference is taken for each token, and not between the moments E\[x x̂ᵀ\] and Ĥ: these are
/// nearly equal where x and x̂ are, and their difference would consist of rounding. So every entry of Δ is as precise as
/// x̂ and the difference are, and inputs that are equal give Δ = 0 exactly.
///
/// Activations are rounded to f32, and d is the difference of the rounded numbers, in f32. Products of 128 tokens are
/// computed in f32 and added up in f64, as in [`HessianAccumulator`](crate::HessianAccumulator): entry (i, j) of the
/// moment of z is within 10⁻⁶ of √(E\[z_i²\] E\[z_j²\]), and within 3 · 10⁻⁶ for numbers that hardly vary.
///
/// The current rayon pool computes the sums. The result has the same bits for any number of threads.
///
/// Memory: about 2k² f64 numbers, because the lower triangle of 2k × 2k is stored; 1.9 GB for k = 11008. While `add` runs
/// it needs another 16 MiB (or 256 k f32 numbers where these are more).
///
/// ```
/// use armor_core::{CorrectionOptions, PairAccumulator};
/// use ndarray::array;
///
/// let mut accumulator = PairAccumulator::new(2);
/// let dense = array![[1.0_f32, 2.0], [3.0, -2.0], [2.0, 0.0]]; // three tokens
/// let compressed = dense.mapv(|x| 0.5 * x);
/// accumulator.add(&dense, &compressed)?;
/// let moments = accumulator.moments()?;
/// assert_eq!(moments.hessian().diagonal(), [14.0 / 12.0, 8.0 / 12.0]);
///
/// // The layer's inputs are half of what they were, so its weight must be twice what it was.
/// let weight = array![[1.0_f32, -3.0]];
/// let corrected = moments.correct(&weight, &CorrectionOptions { strength: 1.0, ridge: 0.0 })?;
/// assert!((corrected.weight[[0, 0]] - 2.0).abs() < 1e-5 && (corrected.weight[[0, 1]] + 6.0).abs() < 1e-5);
/// assert!(moments.output_error(&weight, &weight.view())? > 0.24);
/// assert!(moments.output_error(&weight, &corrected.weight.view())? < 1e-6);
/// # Ok::<(), armor_core::Error>(())
/// ```
///
/// Where calibration runs in parallel, every worker fills its own accumulator, and [`PairAccumulator::merge`] adds them.
#[derive(Clone, Debug, PartialEq)]
pub struct PairAccumulator {
    tokens: u64,
    /// Σ z zᵀ with the differences first.
    sums: Triangle,
}

impl PairAccumulator {
    /// Makes an accumulator over k inputs, without tokens.
    ///
    /// # Panics
    /// If (2k)² f64 numbers do not fit into the address space.
    pub fn new(inputs: usize) -> Self {
        let size = inputs.checked_mul(2).expect("twice the number of inputs fits into the address space");
        PairAccumulator { tokens: 0, sums: Triangle::zeros(size) }
    }

    /// Returns the number of inputs, k.
    pub fn inputs(&self) -> usize {
        self.sums.size() / 2
    }

    /// Returns the number of tokens added so far, N.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Adds the inputs of some tokens, in the dense and in the compressed model: two matrices tokens × k with any strides
    /// and number types, whose rows belong together. They may have no rows; calls with some hundred tokens are fastest.
    ///
    /// # Errors
    /// [`Error::Inputs`] for another number of columns than k; [`Error::Tokens`] where `compressed` has not as many rows
    /// as `dense`; [`Error::Activation`] with the first entry, in row-major order, that is NaN, infinite or beyond
    /// ±5 · 10¹⁷, of `dense` before `compressed`; [`Error::Threads`]. In these cases nothing is added.
    pub fn add<T: Element, U: Element>(
        &mut self,
        dense: &ArrayBase<impl Data<Elem = T> + Sync, Ix2>,
        compressed: &ArrayBase<impl Data<Elem = U> + Sync, Ix2>,
    ) -> Result<(), Error> {
        let (inputs, dense, compressed) = (self.inputs(), dense.view(), compressed.view());
        for (argument, found) in [("dense", dense.ncols()), ("compressed", compressed.ncols())] {
            if found != inputs {
                return Err(Error::Inputs { argument, found, expected: inputs });
            }
        }
        let (tokens, found) = (dense.nrows(), compressed.nrows());
        if found != tokens {
            return Err(Error::Tokens { argument: "compressed", found, expected: tokens });
        }
        pool::start()?;
        check("dense", &dense, LARGEST)?;
        check("compressed", &compressed, LARGEST)?;
        self.sums.add_tokens(tokens, |token, columns, out| stack((&dense, &compressed), token, columns, out));
        self.tokens = self.tokens.saturating_add(tokens as u64);
        Ok(())
    }

    /// Adds the tokens of another accumulator, which stays unchanged. The order of merging affects rounding only.
    ///
    /// # Errors
    /// [`Error::Inputs`] where the other accumulator has another k.
    pub fn merge(&mut self, other: &Self) -> Result<(), Error> {
        if other.inputs() != self.inputs() {
            return Err(Error::Inputs { argument: "other", found: other.inputs(), expected: self.inputs() });
        }
        self.sums.add(&other.sums);
        self.tokens = self.tokens.saturating_add(other.tokens);
        Ok(())
    }

    /// Computes the means over all tokens so far. More tokens may be added afterwards.
    ///
    /// # Errors
    /// [`Error::NoTokens`] where no tokens were added; [`Error::Threads`]. Sums that were read from a file and that no
    /// inputs have may give those of [`Hessian::from_full`](crate::Hessian::from_full).
    pub fn moments(&self) -> Result<PairMoments, Error> {
        if self.tokens == 0 {
            return Err(Error::NoTokens);
        }
        let tokens = self.tokens as f64;
        PairMoments::of_stacked(self.tokens, self.inputs(), |i, j| self.sums.entry(i.max(j), i.min(j)) / tokens)
    }
}

/// Writes the numbers of a token in a range of the stacked columns: of x − x̂ up to column k, of x̂ from there on.
fn stack<T: Element, U: Element>(
    (dense, compressed): (&ArrayView2<'_, T>, &ArrayView2<'_, U>),
    token: usize,
    columns: Range<usize>,
    out: &mut [f32],
) {
    let inputs = dense.ncols();
    let differences = columns.start.min(inputs)..columns.end.min(inputs);
    let seen = columns.start.max(inputs) - inputs..columns.end.max(inputs) - inputs;
    let (difference, rest) = out.split_at_mut(differences.len());
    with_scratch([difference.len()], |[subtrahend]| {
        T::convert(dense.slice(s![token, differences.clone()]), difference);
        U::convert(compressed.slice(s![token, differences]), subtrahend);
        for (difference, subtrahend) in difference.iter_mut().zip(subtrahend) {
            *difference -= *subtrahend;
        }
    });
    U::convert(compressed.slice(s![token, seen]), rest);
}
