//! The three stages of a product, z = B x, t = S z and y = A t, each of them strip by strip on all threads.

use ndarray::{ArrayViewMut2, ShapeBuilder};

use crate::factors::precision::Precision;
use crate::kernels::cache_line::CacheLine;
use crate::kernels::instructions::InstructionSet;
use crate::packed::core::PackedCore;
use crate::packed::dense_kernel::DenseKernel;
use crate::packed::execution::{Execution, FactorSelection};
use crate::packed::factors::PackedFactors;
use crate::packed::interleaved_product::InterleavedProduct;
use crate::packed::matrix_kernel::MatrixKernel;
use crate::packed::number::{PackedBf16, PackedF16, PackedF32, PackedNumber};
use crate::packed::output_rows::{OutputRows, ProductOutput};
use crate::packed::strip::PackedStrip;
use crate::packed::team::{self, ProductStage};
use crate::packed::two_four_kernel::TwoFourKernel;
use crate::packed::vector_product::VectorProduct;
use crate::packed::vectors::{INTERLEAVED, ProductInput, stride};
use crate::packed::workspace::StageBuffers;
use crate::packed::wrapper::PackedWrapper;

/// A layer, which of its factors are multiplied, and how.
#[derive(Clone, Copy)]
pub(super) struct ProductRun<'a> {
    pub packed: &'a PackedFactors,
    pub factors: FactorSelection,
    pub execution: Execution,
}

/// Multiplies the vectors of `x`.
pub(super) fn multiply_vectors(
    run: ProductRun<'_>,
    x: ProductInput<'_>,
    buffers: StageBuffers<'_>,
    y: ArrayViewMut2<'_, f32>,
) {
    let ProductRun { packed, factors, execution: Execution { set, threads } } = run;
    // SAFETY: each strip writes its own rows, and one thread multiplies it.
    let y = ProductOutput::Separate(unsafe { OutputRows::new(y) });
    if factors == FactorSelection::Core {
        let core = |index| multiply_core(&packed.core, index, set, x, y);
        return team::run(threads, &[ProductStage::new(packed.core.pieces(), &core)]);
    }
    let z = IntermediateVectors::new(x, packed.cols, buffers.z);
    let t = IntermediateVectors::new(x, packed.rows, buffers.t);
    let right = |index| multiply_wrapper(&packed.right, index, set, x, z.output());
    // SAFETY: only the stage before writes z.
    let core = |index| multiply_core(&packed.core, index, set, unsafe { z.input() }, t.output());
    // SAFETY: only the stage before writes t.
    let left = |index| multiply_wrapper(&packed.left, index, set, unsafe { t.input() }, y);
    team::run(
        threads,
        &[
            ProductStage::new(packed.right.strips(), &right),
            ProductStage::new(packed.core.pieces(), &core),
            ProductStage::new(packed.left.strips(), &left),
        ],
    );
}

/// The vectors that one stage writes and the next one reads.
struct IntermediateVectors<'a> {
    rows: OutputRows<'a>,
    interleaved: bool,
}

impl<'a> IntermediateVectors<'a> {
    /// Divides a buffer into as many vectors of `len` entries as x has, in the layout of x.
    fn new(x: ProductInput<'_>, len: usize, buffer: &'a mut [f32]) -> Self {
        let (shape, interleaved) = match x {
            ProductInput::Separate(vectors) => ((vectors.count, len).strides((stride(len), 1)), false),
            ProductInput::Interleaved(_) => ((len, INTERLEAVED).strides((INTERLEAVED, 1)), true),
        };
        let view = ArrayViewMut2::from_shape(shape, buffer).expect("the buffer is as long as its vectors");
        // SAFETY: each strip writes its own rows, and one thread multiplies it.
        IntermediateVectors { rows: unsafe { OutputRows::new(view) }, interleaved }
    }

    fn output(&self) -> ProductOutput<'a> {
        if self.interleaved { ProductOutput::Interleaved(self.rows) } else { ProductOutput::Separate(self.rows) }
    }

    /// Gives the vectors as the input of the next stage.
    ///
    /// # Safety
    /// No thread writes to the vectors any more.
    unsafe fn input(&self) -> ProductInput<'a> {
        // SAFETY: this function has the same contract.
        let vectors = unsafe { self.rows.read() };
        if self.interleaved {
            ProductInput::Interleaved(vectors.data.as_chunks().0.as_chunks().0)
        } else {
            ProductInput::Separate(vectors)
        }
    }
}

/// Multiplies one piece of the core.
fn multiply_core(core: &PackedCore, index: usize, set: InstructionSet, x: ProductInput<'_>, out: ProductOutput<'_>) {
    match core {
        PackedCore::TwoFour(core) => {
            multiply_strip::<TwoFourKernel>(core.strip(index), core.precision(), set, x, out);
        }
        PackedCore::AnyPattern(core) => match (x, out) {
            (ProductInput::Separate(vectors), ProductOutput::Separate(out)) => core.multiply(index, vectors, out),
            _ => unreachable!("only a 2:4 core is multiplied with interleaved vectors"),
        },
    }
}

/// Multiplies one strip of a wrapper.
fn multiply_wrapper(
    wrapper: &PackedWrapper,
    index: usize,
    set: InstructionSet,
    x: ProductInput<'_>,
    out: ProductOutput<'_>,
) {
    multiply_strip::<DenseKernel>(wrapper.strip(index), wrapper.precision(), set, x, out);
}

fn multiply_strip<M: MatrixKernel>(
    strip: PackedStrip<'_>,
    precision: Precision,
    set: InstructionSet,
    x: ProductInput<'_>,
    out: ProductOutput<'_>,
) {
    match precision {
        Precision::F32 => multiply_strip_of::<M, PackedF32>(strip, set, x, out),
        Precision::F16 => multiply_strip_of::<M, PackedF16>(strip, set, x, out),
        Precision::Bf16 => multiply_strip_of::<M, PackedBf16>(strip, set, x, out),
    }
}

fn multiply_strip_of<M: MatrixKernel, N: PackedNumber>(
    strip: PackedStrip<'_>,
    set: InstructionSet,
    x: ProductInput<'_>,
    out: ProductOutput<'_>,
) {
    match (x, out) {
        (ProductInput::Interleaved(x), out) => {
            set.dispatch(CacheLine::LEN, InterleavedProduct::<M, N>::new(strip, x, out));
        }
        (ProductInput::Separate(x), ProductOutput::Separate(out) | ProductOutput::Interleaved(out)) => {
            set.dispatch(CacheLine::LEN, VectorProduct::<M, N>::new(strip, x, out));
        }
    }
}
