//! A factorised layer that is ready to be applied.

use std::time::Duration;

use ndarray::{ArrayView1, ArrayView2, ArrayViewMut1, ArrayViewMut2, Axis};

use crate::error::Error;
use crate::factors::pattern::Pattern;
use crate::factors::precision::FactorPrecision;
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
use crate::result::record::RunRecord;

/// A factorised layer, ready to be applied: A, S and B in panels, each in f32, f16 or bf16.
///
/// It is made once from a [`Factorization`] and never changes; any number of threads may apply it at the same time.
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
/// packed.apply_into(x.view(), y.view_mut(), &mut scratch)?;
/// # let exact = factors.apply(x.view())?;
/// # assert!(y.iter().zip(&exact).all(|(y, e)| (y - e).abs() < 0.5), "{y} is not {exact}");
/// # Ok::<(), armor_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct PackedFactorization {
    factors: PackedFactors,
    pattern: Pattern,
    losses: (f64, f64),
    record: RunRecord,
}

/// Fails to compile unless threads may share a packed layer.
const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<PackedFactorization>();
};

impl PackedFactorization {
    /// Packs a factorisation, the numbers of all factors rounded to one [`Precision`](crate::Precision), or those of each
    /// factor to its own ([`FactorPrecision`]).
    ///
    /// A core of the pattern 2:4 gets the fast kernels; a core of any other pattern is multiplied row by row.
    ///
    /// # Errors
    /// [`Error::Overflow`] for a number that rounds to an infinity: from 65,520 on in f16, and within half a step of the
    /// largest f32 number in bf16; [`Error::Threads`] where the system gives no threads.
    pub fn new(factorization: &Factorization, precision: impl Into<FactorPrecision>) -> Result<Self, Error> {
        Self::pack(factorization, precision.into(), pool::threads()?)
    }

    /// Packs on the current pool, or on the calling thread alone if `threads` is 1.
    ///
    /// # Errors
    /// [`Error::Overflow`] as [`PackedFactorization::new`].
    pub(crate) fn pack(
        factorization: &Factorization,
        precision: FactorPrecision,
        threads: usize,
    ) -> Result<Self, Error> {
        let factors = factorization.factors();
        factors.check_range(precision)?;
        Ok(PackedFactorization {
            factors: PackedFactors::new(factors, precision, threads),
            pattern: factors.core.pattern(),
            losses: (factorization.loss(), factorization.nowag_p_loss()),
            record: factorization.record().clone(),
        })
    }

    /// Gives back the factorization that was packed, each factor rounded to its number type: nothing else is lost, but the
    /// wall time is 0. Packing the result gives the same layer.
    ///
    /// ```
    /// use armor_core::{Hessian, Layer, Options, PackedFactorization, Precision, factorize};
    /// # let weight = ndarray::Array2::from_shape_fn((32, 64), |(i, j)| ((7 * i + 3 * j) % 23) as f32 - 11.0);
    /// # let layer = Layer::new(&weight, Hessian::identity(64))?;
    /// let factors = factorize(&layer, &Options::exact().block(16).iterations(2))?;
    /// let packed = PackedFactorization::new(&factors, Precision::Bf16)?;
    /// assert_eq!(packed.unpack(), factors.rounded(Precision::Bf16)?);
    /// # Ok::<(), armor_core::Error>(())
    /// ```
    pub fn unpack(&self) -> Factorization {
        Factorization::new(self.factors.unpack(), self.losses, self.record.clone(), Duration::ZERO)
    }

    /// Packs the factorisation of tensor `name` in a safetensors file.
    ///
    /// The file is also the form in which a packed layer is stored: the packed layout belongs to one version of the
    /// library, and packing takes little longer than reading the file.
    ///
    /// # Errors
    /// Those of [`Factorization::from_safetensors`] and [`PackedFactorization::new`].
    #[cfg(feature = "safetensors")]
    pub fn from_safetensors(bytes: &[u8], name: &str, precision: impl Into<FactorPrecision>) -> Result<Self, Error> {
        Self::new(&Factorization::from_safetensors(bytes, name)?, precision)
    }

    /// Gives the number of outputs of the layer, m.
    pub fn rows(&self) -> usize {
        self.factors.rows
    }

    /// Gives the number of inputs of the layer, k.
    pub fn cols(&self) -> usize {
        self.factors.cols
    }

    /// Gives the pattern of the core.
    pub fn pattern(&self) -> Pattern {
        self.pattern
    }

    /// Gives the number type of each factor.
    pub fn precision(&self) -> FactorPrecision {
        self.factors.precision()
    }

    /// Gives the bytes of each factor in memory, which are also the bytes that a product reads.
    ///
    /// Rows are padded to a multiple of 16, and so are those of every block of a wrapper, whose columns are padded to a
    /// multiple of 2. For each row of k entries, a 2:4 core takes k/2 numbers and 4 bytes for every 40 columns or part of
    /// 40 columns.
    pub fn bytes(&self) -> PackedBytes {
        self.factors.bytes()
    }

    /// Gives the length of the working memory that [`PackedFactorization::apply_batch_into`] needs for `batch` vectors, in
    /// f32 numbers; one vector is a batch of 1. From 64 vectors on it stays the same.
    pub fn scratch_len(&self, batch: usize) -> usize {
        workspace::scratch_len(&self.factors, batch)
    }

    /// Computes y = A (S (B x)) for one input x of length k and writes the m outputs to y. Uses `scratch` as workspace.
    ///
    /// Sums are f32. For numbers of mixed signs they are within 2 · 2⁻²³ · (|A| |S| |B| |x|)ᵢ of the exact product of the
    /// packed numbers, which `tests/packed` checks; a rare output is slightly beyond, and for numbers of one sign, whose
    /// rounding errors add up, the distance is several times as large. x may be of any [`Element`] type and is rounded to
    /// f32. The vectors B x and S (B x) must be within the range of f32. An x with NaN or infinities gives what the dense
    /// matrix Ŵ = A S B would: NaN in every output, or Ŵᵢⱼ · ∞ in output i; each infinity costs one more product.
    ///
    /// The product runs on the current rayon pool, and on the calling thread alone where that pool has one thread or the
    /// layer is small. The result does not depend on the threads; between instruction sets it differs by rounding. A call
    /// from a thread of the pool allocates nothing; a call from another thread goes through the pool's queue, which
    /// allocates now and then.
    ///
    /// As in every parallel call of rayon, a thread of the pool that waits for another thread may begin another task of
    /// the pool meanwhile. This is rare here, but a task that applies a layer must not hold a lock, or a borrow of
    /// thread-local memory, that another such task takes: give each task its own scratch. Many products at the same time
    /// are fastest if each runs on one thread, called from threads outside the pool.
    ///
    /// # Errors
    /// [`Error::Length`] unless x has k entries, y has m, and scratch at least `scratch_len(1)`; [`Error::Threads`] where
    /// the system gives no threads. y is then unchanged.
    pub fn apply_into<T: Element>(
        &self,
        x: ArrayView1<'_, T>,
        y: ArrayViewMut1<'_, f32>,
        scratch: &mut [f32],
    ) -> Result<(), Error> {
        self.apply_batch_into(x.insert_axis(Axis(0)), y.insert_axis(Axis(0)), scratch)
    }

    /// Computes y = A (S (B x)) for a batch of inputs, each a row: x is batch × k, y is batch × m, both with any strides.
    ///
    /// In everything else it is like [`PackedFactorization::apply_into`]. The result for a vector has the same bits in
    /// every batch.
    ///
    /// # Errors
    /// [`Error::Length`] unless the rows of x have k entries, those of y m, y has as many rows as x, and scratch at
    /// least `scratch_len(batch)` numbers; [`Error::Threads`] where the system gives no threads. y is then unchanged.
    pub fn apply_batch_into<T: Element>(
        &self,
        x: ArrayView2<'_, T>,
        y: ArrayViewMut2<'_, f32>,
        scratch: &mut [f32],
    ) -> Result<(), Error> {
        self.multiply(Execution::best()?, &T::weight(x), y, scratch)
    }

    /// Does the same on one instruction set, for tests that compare the sets; on the best one of the CPU where the CPU
    /// lacks it.
    ///
    /// # Errors
    /// Those of [`PackedFactorization::apply_batch_into`].
    #[doc(hidden)]
    pub fn apply_batch_on<T: Element>(
        &self,
        set: InstructionSet,
        x: ArrayView2<'_, T>,
        y: ArrayViewMut2<'_, f32>,
        scratch: &mut [f32],
    ) -> Result<(), Error> {
        self.multiply(Execution { set, ..Execution::best()? }, &T::weight(x), y, scratch)
    }

    /// Computes S x alone, without the wrappers, for benchmarks that measure what a plain N:M matrix costs.
    ///
    /// # Errors
    /// Those of [`PackedFactorization::apply_batch_into`].
    #[doc(hidden)]
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
    /// [`Error::Length`] as [`PackedFactorization::apply_batch_into`].
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
