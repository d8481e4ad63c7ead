//! A factorised layer that is ready to be applied.

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2, Axis};

use crate::error::Error;
use crate::factors::pattern::Pattern;
use crate::factors::precision::Precision;
use crate::input::weight::{Element, Weight};
use crate::kernels::instructions::InstructionSet;
use crate::kernels::pool;
use crate::packed::bytes::PackedBytes;
use crate::packed::execution::{Execution, FactorSelection};
use crate::packed::factors::PackedFactors;
use crate::packed::multiply::multiply;
use crate::packed::stages::ProductRun;
use crate::packed::workspace;
use crate::result::factorization::Factorization;

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
    factors: PackedFactors,
    pattern: Pattern,
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

    /// Packs on the current pool, or on the calling thread alone if `threads` is 1.
    ///
    /// # Errors
    /// [`Error::Precision`] as [`PackedFactorization::new`].
    pub(crate) fn pack(factorization: &Factorization, precision: Precision, threads: usize) -> Result<Self, Error> {
        let factors = factorization.factors();
        factors.check_range(precision.into())?;
        Ok(PackedFactorization {
            factors: PackedFactors::new(factors, precision, threads),
            pattern: factors.core.pattern(),
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
        self.factors.rows
    }

    /// Inputs of the layer, k.
    pub fn cols(&self) -> usize {
        self.factors.cols
    }

    /// The core's pattern.
    pub fn pattern(&self) -> Pattern {
        self.pattern
    }

    /// The number type of values and wrappers.
    pub fn precision(&self) -> Precision {
        self.factors.core.precision()
    }

    /// Bytes in memory, which are also those that a product reads.
    ///
    /// Rows are padded to sixteen, in every block of a wrapper too, and its columns to two. A 2:4 core whose rows are a
    /// multiple of 16 takes, of a row's k entries, k/2 numbers and 4 bytes for each 40 columns begun.
    pub fn bytes(&self) -> PackedBytes {
        self.factors.bytes()
    }

    /// Numbers of working memory that [`PackedFactorization::apply_batch`] needs for so many vectors; one vector is a
    /// batch of one. It does not grow beyond 64 vectors.
    pub fn scratch_len(&self, batch: usize) -> usize {
        workspace::scratch_len(&self.factors, batch)
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
        self.multiply(Execution::best()?, &T::weight(x), y, scratch)
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
        self.multiply(Execution { set, ..Execution::best()? }, &T::weight(x), y, scratch)
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
        multiply(self.run(FactorSelection::Core, Execution::best()?), &T::weight(x), y, scratch)
    }

    /// Computes the product with the rows of x on a given instruction set and number of threads.
    ///
    /// # Errors
    /// [`Error::Length`] as [`PackedFactorization::apply_batch`].
    pub(crate) fn multiply(
        &self,
        execution: Execution,
        x: &Weight<'_>,
        y: ArrayViewMut2<'_, f32>,
        scratch: &mut [f32],
    ) -> Result<(), Error> {
        multiply(self.run(FactorSelection::All, execution), x, y, scratch)
    }

    fn run(&self, factors: FactorSelection, execution: Execution) -> ProductRun<'_> {
        ProductRun { packed: &self.factors, factors, execution }
    }
}
