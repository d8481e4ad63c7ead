//! The product of a strip with interleaved vectors; lanes are vectors.
//!
//! A kept weight then costs one multiply-add for sixteen vectors and selects its entry of x by address, where lanes that
//! are rows need a permutation too: half of the arithmetic of a dense product instead of all of it.

use std::marker::PhantomData;

use crate::kernels::instructions::Kernel;
use crate::kernels::lanes::{Lanes, SixteenLanes};
use crate::packed::matrix_kernel::MatrixKernel;
use crate::packed::number::PackedNumber;
use crate::packed::output_rows::ProductOutput;
use crate::packed::strip::{PackedStrip, ROWS, STRIP_ROWS};
use crate::packed::vectors::{INTERLEAVED, InterleavedEntry};

/// A strip of a matrix of kind `M` with numbers of type `N`, the interleaved vectors that it is multiplied with, and the
/// output.
pub(super) struct InterleavedProduct<'a, M, N> {
    strip: PackedStrip<'a>,
    /// An element for every column of the matrix.
    x: &'a [InterleavedEntry],
    output: ProductOutput<'a>,
    kind: PhantomData<(M, N)>,
}

impl<'a, M, N> InterleavedProduct<'a, M, N> {
    pub fn new(strip: PackedStrip<'a>, x: &'a [InterleavedEntry], output: ProductOutput<'a>) -> Self {
        InterleavedProduct { strip, x, output, kind: PhantomData }
    }
}

impl<M: MatrixKernel, N: PackedNumber> Kernel for InterleavedProduct<'_, M, N> {
    type Output = ();

    #[inline(always)]
    fn run<I: Lanes>(self, simd: I) {
        self.multiply(simd.sixteen());
    }
}

impl<M: MatrixKernel, N: PackedNumber> InterleavedProduct<'_, M, N> {
    #[inline(always)]
    fn multiply<L: SixteenLanes>(&self, lanes: L) {
        let PackedStrip { start, rows, cols: (first, count), .. } = self.strip;
        let mut totals = [[[0.0; ROWS]; INTERLEAVED / ROWS]; STRIP_ROWS];
        M::interleaved::<L, N>(lanes, self.strip, &self.x[first..first + count], &mut totals);
        match self.output {
            ProductOutput::Interleaved(out) => {
                for (row, total) in totals[..rows].iter().enumerate() {
                    out.write(start + row, 0, total.as_flattened());
                }
            }
            ProductOutput::Separate(out) => {
                let mut vector = [0.0; STRIP_ROWS];
                for index in 0..INTERLEAVED {
                    for (entry, total) in vector.iter_mut().zip(&totals[..rows]) {
                        *entry = total.as_flattened()[index];
                    }
                    out.write(index, start, &vector[..rows]);
                }
            }
        }
    }
}
