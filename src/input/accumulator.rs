//! The second moment of a layer's inputs, accumulated over batches of activations.

#[cfg(feature = "safetensors")]
mod serialize;

use ndarray::{ArrayBase, ArrayView2, Data, Ix2, s};
use rayon::prelude::*;

use crate::error::Error;
use crate::input::activations::check;
use crate::input::hessian::{Hessian, HessianKind};
use crate::input::triangle::{Triangle, add_all};
use crate::input::weight::Element;
use crate::kernels::elementwise::add_squares;
use crate::kernels::pool;
use crate::kernels::scratch::with_scratch;

/// Largest magnitude that an activation may have: f32 still holds the sum of the squares of a run of tokens.
const LARGEST: f32 = 1e18;

/// Columns of the diagonal's sums that one task computes.
const COLUMNS: usize = 256;

/// Adds up H = (1/N) Σ x xᵀ over the activations x of N calibration tokens: the whole k × k matrix, or its diagonal.
///
/// Activations are rounded to f32. The diagonal's squares are exact and added up in f64. For the whole matrix, products
/// of 128 tokens are computed in f32 and added up in f64, so that errors do not grow with the number of tokens: entry
/// (i, j) is within 10⁻⁶ √(H_ii H_jj) of the mean. Only for an input that hardly varies the error is up to 3 · 10⁻⁶,
/// because its products are rounded in the same direction. Magnitudes below 10⁻¹⁹, whose squares are below the range of
/// f32, may count as zero there.
///
/// The current rayon pool computes the sums. The result has the same bits for any number of threads.
///
/// Memory: k f64 numbers for the diagonal; at most k² for the whole matrix, about half of that for large k, because only
/// the lower triangle is stored. While `add` runs it needs another 16 MiB (or 256 tokens of f32 numbers where these are
/// more).
///
/// ```
/// use armor_core::{HessianAccumulator, HessianKind};
/// use ndarray::array;
///
/// let mut accumulator = HessianAccumulator::new(2, HessianKind::Full);
/// accumulator.add(&array![[1.0_f32, 2.0], [3.0, -2.0]])?; // two tokens
/// accumulator.add(&array![[2.0_f64, 0.0]])?; // and one more
/// assert_eq!(accumulator.tokens(), 3);
/// let hessian = accumulator.hessian()?;
/// assert_eq!(hessian.diagonal(), [14.0 / 3.0, 8.0 / 3.0]);
/// assert_eq!(hessian.row(0), Some(&[14.0 / 3.0, -4.0 / 3.0][..]));
/// # Ok::<(), armor_core::Error>(())
/// ```
///
/// Where calibration runs in parallel, every worker fills its own accumulator, and [`HessianAccumulator::merge`] adds
/// them.
#[derive(Clone, Debug, PartialEq)]
pub struct HessianAccumulator {
    tokens: u64,
    sums: Sums,
}

/// Σ x xᵀ over the tokens added so far.
#[derive(Clone, Debug, PartialEq)]
enum Sums {
    Diagonal(Vec<f64>),
    Full(Triangle),
}

impl Sums {
    /// Names the part of the matrix in messages.
    fn name(&self) -> &'static str {
        match self {
            Sums::Diagonal(_) => "the diagonal",
            Sums::Full(_) => "the whole matrix",
        }
    }
}

impl HessianAccumulator {
    /// Makes an accumulator over k inputs, without tokens.
    ///
    /// # Panics
    /// If the sums, k or k² f64 numbers, do not fit into the address space.
    pub fn new(inputs: usize, kind: HessianKind) -> Self {
        let sums = match kind {
            HessianKind::Diagonal => Sums::Diagonal(vec![0.0; inputs]),
            HessianKind::Full => Sums::Full(Triangle::zeros(inputs)),
        };
        HessianAccumulator { tokens: 0, sums }
    }

    /// Returns the number of inputs, k.
    pub fn inputs(&self) -> usize {
        match &self.sums {
            Sums::Diagonal(sums) => sums.len(),
            Sums::Full(sums) => sums.size(),
        }
    }

    /// Returns the number of tokens added so far, N.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Tells which part of the matrix is accumulated.
    pub fn kind(&self) -> HessianKind {
        match self.sums {
            Sums::Diagonal(_) => HessianKind::Diagonal,
            Sums::Full(_) => HessianKind::Full,
        }
    }

    /// Adds the activations of some tokens: a matrix tokens × k with any strides. It may have no rows; calls with some
    /// hundred tokens are fastest.
    ///
    /// # Errors
    /// [`Error::Inputs`] for another number of columns than k; [`Error::Activation`] with the first entry, in row-major
    /// order, that is NaN, infinite or beyond ±10¹⁸; [`Error::Threads`]. In these cases nothing is added.
    pub fn add<T: Element>(&mut self, activations: &ArrayBase<impl Data<Elem = T> + Sync, Ix2>) -> Result<(), Error> {
        let activations = activations.view();
        let (tokens, inputs) = activations.dim();
        if inputs != self.inputs() {
            return Err(Error::Inputs { argument: "activations", found: inputs, expected: self.inputs() });
        }
        pool::start()?;
        check("activations", &activations, LARGEST)?;
        match &mut self.sums {
            Sums::Diagonal(sums) => add_to_diagonal(sums, &activations),
            Sums::Full(sums) => sums.add_tokens(tokens, |token, columns, out| {
                T::convert(activations.slice(s![token, columns]), out);
            }),
        }
        self.tokens = self.tokens.saturating_add(tokens as u64);
        Ok(())
    }

    /// Adds the tokens of another accumulator, which stays unchanged. The order of merging affects rounding only.
    ///
    /// # Errors
    /// [`Error::Inputs`] where the other accumulator has another k; [`Error::HessianKind`] where only one of both has the
    /// whole matrix.
    pub fn merge(&mut self, other: &Self) -> Result<(), Error> {
        if other.inputs() != self.inputs() {
            return Err(Error::Inputs { argument: "other", found: other.inputs(), expected: self.inputs() });
        }
        match (&mut self.sums, &other.sums) {
            (Sums::Diagonal(sums), Sums::Diagonal(others)) => add_all(sums, others),
            (Sums::Full(sums), Sums::Full(others)) => sums.add(others),
            (sums, others) => {
                return Err(Error::HessianKind { argument: "other", found: others.name(), expected: sums.name() });
            }
        }
        self.tokens = self.tokens.saturating_add(other.tokens);
        Ok(())
    }

    /// Computes the mean over all tokens so far, H = (1/N) Σ x xᵀ, or its diagonal. More tokens may be added afterwards.
    ///
    /// # Errors
    /// [`Error::NoTokens`] where no tokens were added; [`Error::Threads`].
    pub fn hessian(&self) -> Result<Hessian, Error> {
        if self.tokens == 0 {
            return Err(Error::NoTokens);
        }
        let tokens = self.tokens as f64;
        match &self.sums {
            Sums::Diagonal(sums) => Hessian::of_moments(sums.iter().map(|sum| sum / tokens).collect()),
            Sums::Full(sums) => {
                let diagonal = (0..sums.size()).map(|i| sums.entry(i, i) / tokens).collect();
                Hessian::of_moments(diagonal)?.with_entries(|i, j| sums.entry(i.max(j), i.min(j)) / tokens, 0.0)
            }
        }
    }
}

/// Adds the squares of the activations to the sums of the diagonal.
fn add_to_diagonal<T: Element>(sums: &mut [f64], activations: &ArrayView2<'_, T>) {
    sums.par_chunks_mut(COLUMNS).enumerate().for_each(|(chunk, sums)| {
        let start = chunk * COLUMNS;
        let columns = activations.slice(s![.., start..start + sums.len()]);
        with_scratch([sums.len()], |[converted]| {
            for row in columns.rows() {
                T::convert(row, converted);
                add_squares(sums, converted);
            }
        });
    });
}
