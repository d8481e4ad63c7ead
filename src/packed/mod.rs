//! A factorisation in the layout that fast kernels read: y = A (S (B x)) at the speed of memory.
//!
//! Everything packed is a stream of cache lines. Sixteen rows make a *panel*, one SIMD lane each, and four panels a
//! *strip*, which one thread multiplies from its first column to its last. The threads are woken once a product and go
//! through its three stages together, so what lies between the stages stays in their caches. Sixty-four vectors and more
//! are multiplied side by side, in the *wide* layout, where SIMD lanes are vectors instead of rows.

mod any_pattern;
mod dense;
mod layout;
mod memory;
pub(crate) mod multiply;
mod sparse;
#[allow(unsafe_code, reason = "the threads of a stage write disjoint rows, which the next stage reads")]
mod stages;
mod store;
mod strip;
mod team;
#[allow(unsafe_code, reason = "the threads of a stage write disjoint rows of one array")]
mod vectors;
mod wide;

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2, Axis};

use any_pattern::Rows;
use layout::{PackedBlocks, PackedCore};
use multiply::Factors;

use crate::error::Error;
use crate::factors::pattern::Pattern;
use crate::factors::precision::Precision;
use crate::input::weight::{Element, Weight};
use crate::kernels::instructions::InstructionSet;
use crate::kernels::pool;
use crate::result::factorization::Factorization;

/// A core in one of two layouts.
#[derive(Clone, Debug, PartialEq)]
enum Core {
    TwoFour(PackedCore),
    Any(Rows),
}

/// A factorised layer, ready to be applied: A, S and B in panels, in f32, f16 or bf16.
///
/// Made once from a [`Factorization`]; immutable; any number of threads may apply it at the same time.
///
/// ```
/// use armor_core::{Hessian, Layer, Options, PackedFactorization, Precision, factorize};
/// use ndarray::{Array1, Array2};
///
/// let weight = Array2::from_shape_fn((32, 64), |(i, j)| ((7 * i + 3 * j) % 23) as f32 - 11.0);
/// let layer = Layer::new(&weight, Hessian::identity(64))?;
/// let factors = factorize(&layer, &Options::exact().block(16).iterations(5))?;
///
/// let packed = PackedFactorization::new(&factors, Precision::Bf16)?;
/// let mut scratch = vec![0.0; packed.scratch_len(1)];
/// let (x, mut y) = (Array1::from_elem(64, 0.5_f32), Array1::zeros(32));
/// packed.apply(x.view(), y.view_mut(), &mut scratch)?;
/// # let exact = factors.apply(x.view())?;
/// # assert!(y.iter().zip(&exact).all(|(y, e)| (y - e).abs() < 0.5), "{y} is not {exact}");
/// # Ok::<(), armor_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct PackedFactorization {
    rows: usize,
    cols: usize,
    pattern: Pattern,
    precision: Precision,
    left: PackedBlocks,
    core: Core,
    right: PackedBlocks,
}

/// Bytes of a [`PackedFactorization`], by factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedBytes {
    /// The left wrapper A.
    pub left: usize,
    /// Values and positions of the core S.
    pub core: usize,
    /// The right wrapper B.
    pub right: usize,
}

impl PackedBytes {
    /// All three.
    pub fn total(self) -> usize {
        self.left + self.core + self.right
    }
}

impl PackedFactorization {
    /// Packs a factorisation, every number rounded to `precision`.
    ///
    /// The pattern 2:4 gets the fast kernels; any other is multiplied row by row.
    ///
    /// # Errors
    /// [`Error::Precision`] for a number that rounds beyond the range of `precision`: possible with f16, whose largest is
    /// 65,504, and with bf16 within half a step of f32's largest; [`Error::Threads`] where the system gives no threads.
    pub fn new(factorization: &Factorization, precision: Precision) -> Result<Self, Error> {
        Self::pack(factorization, precision, pool::threads()?)
    }

    /// Packs on the current pool, or with one thread on the calling one.
    pub(crate) fn pack(factorization: &Factorization, precision: Precision, threads: usize) -> Result<Self, Error> {
        let core = factorization.core();
        let packed = match core.pattern() {
            Pattern::TWO_FOUR => Core::TwoFour(PackedCore::new(core, precision, threads)?),
            _ => Core::Any(Rows::new(core, precision)?),
        };
        Ok(PackedFactorization {
            rows: core.rows(),
            cols: core.cols(),
            pattern: core.pattern(),
            precision,
            left: PackedBlocks::new("left", factorization.left(), precision, threads)?,
            core: packed,
            right: PackedBlocks::new("right", factorization.right(), precision, threads)?,
        })
    }

    /// Packs the factorisation of tensor `name` in a safetensors file, which is also where a packed one is kept: the
    /// layout belongs to one version of the library, and making it takes little longer than reading the file.
    ///
    /// # Errors
    /// Those of [`Factorization::from_safetensors`] and [`PackedFactorization::new`].
    #[cfg(feature = "safetensors")]
    pub fn from_safetensors(bytes: &[u8], name: &str, precision: Precision) -> Result<Self, Error> {
        Self::new(&Factorization::from_safetensors(bytes, name)?, precision)
    }

    /// Outputs of the layer, m.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs of the layer, k.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The core's pattern.
    pub fn pattern(&self) -> Pattern {
        self.pattern
    }

    /// The number type of values and wrappers.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Bytes in memory, which are also those that a product reads.
    ///
    /// Rows are padded to sixteen, in every block of a wrapper too, and its columns to two. A 2:4 core whose rows are a
    /// multiple of 16 takes, of a row's k entries, k/2 numbers and 4 bytes for each 40 columns begun.
    pub fn bytes(&self) -> PackedBytes {
        let core = match &self.core {
            Core::TwoFour(core) => core.bytes(),
            Core::Any(rows) => rows.bytes(),
        };
        PackedBytes { left: self.left.bytes(), core, right: self.right.bytes() }
    }

    /// Numbers of working memory that [`PackedFactorization::apply_batch`] needs for so many vectors; one vector is a
    /// batch of one. It does not grow beyond 64 vectors.
    pub fn scratch_len(&self, batch: usize) -> usize {
        multiply::scratch_len(self, batch)
    }

    /// Computes y = A (S (B x)) for one input x of length k; y gets m outputs. Works
    /// in scratch.
    ///
    /// Sums are f32, within 2 · 2⁻²³ · (|A| |S| |B| |x|)ᵢ of the exact product of the packed numbers for numbers of
    /// mixed signs, which `tests/packed` checks; a rare output goes slightly beyond, and numbers of one sign, whose
    /// roundings add up, several times as far. x may be of any [`Element`] type and is rounded to f32; what lies between
    /// the factors must not overflow. An x with NaN or infinities gives what the dense matrix Ŵ = A S B would: NaN everywhere, or Ŵᵢⱼ · ∞ in
    /// output i, at the price of a product for every infinity.
    ///
    /// It works on the current rayon pool, and on the calling thread alone where that pool has one thread or the layer
    /// is small. The result does not depend on it; between instruction sets it differs by rounding. Nothing is allocated
    /// on a thread of the pool; a call from outside goes through the pool's queue, which takes memory now and then.
    ///
    /// As with every parallel call of rayon, a thread of the pool that waits for another may begin another task of that
    /// pool meanwhile. It is rare here, but a task that applies a layer must hold no lock, nor a borrow of its thread's
    /// own memory, that another such task takes: give each task scratch of its own. Many products at once are fastest
    /// each on one thread, from threads that are outside the pool.
    ///
    /// # Errors
    /// [`Error::Length`] unless x has k entries, y has m, and scratch at least `scratch_len(1)`; [`Error::Threads`] where
    /// the system gives no threads. y is then unchanged.
    pub fn apply<T: Element>(
        &self,
        x: ArrayView1<'_, T>,
        y: ArrayViewMut1<'_, f32>,
        scratch: &mut [f32],
    ) -> Result<(), Error> {
        self.apply_batch(x.insert_axis(Axis(0)), y.insert_axis(Axis(0)), scratch)
    }

    /// Computes y = A (S (B x)) for a batch of inputs, each a row: x is batch × k, y batch × m, both with any strides.
    ///
    /// As [`PackedFactorization::apply`] in all else. A vector's result is the same bits in any batch.
    ///
    /// # Errors
    /// [`Error::Length`] unless the rows of x have k entries, those of y m, y has as many rows as x, and scratch at
    /// least `scratch_len(batch)` numbers; y is then unchanged.
    pub fn apply_batch<T: Element>(
        &self,
        x: ArrayView2<'_, T>,
        y: ArrayViewMut2<'_, f32>,
        scratch: &mut [f32],
    ) -> Result<(), Error> {
        self.multiply(InstructionSet::best(), Factors::All, T::weight(x), y, scratch)
    }

    /// The same on one instruction set, to compare them; the best that the CPU has where it lacks that one.
    ///
    /// # Errors
    /// Those of [`PackedFactorization::apply_batch`].
    pub fn apply_batch_on<T: Element>(
        &self,
        set: InstructionSet,
        x: ArrayView2<'_, T>,
        y: ArrayViewMut2<'_, f32>,
        scratch: &mut [f32],
    ) -> Result<(), Error> {
        self.multiply(set, Factors::All, T::weight(x), y, scratch)
    }

    /// Computes S x alone, without the wrappers: what a plain N:M matrix costs.
    ///
    /// # Errors
    /// Those of [`PackedFactorization::apply_batch`].
    pub fn apply_core<T: Element>(
        &self,
        x: ArrayView2<'_, T>,
        y: ArrayViewMut2<'_, f32>,
        scratch: &mut [f32],
    ) -> Result<(), Error> {
        self.multiply(InstructionSet::best(), Factors::Core, T::weight(x), y, scratch)
    }

    /// Multiplies on the current pool.
    fn multiply(
        &self,
        set: InstructionSet,
        factors: Factors,
        x: Weight<'_>,
        y: ArrayViewMut2<'_, f32>,
        scratch: &mut [f32],
    ) -> Result<(), Error> {
        let how = multiply::How { set, threads: pool::threads()? };
        multiply::multiply(self, factors, x, y, scratch, how)
    }
}
