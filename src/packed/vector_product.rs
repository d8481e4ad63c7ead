//! The product of a strip with a few vectors, divided into tiles whose sums fit the registers; lanes are rows.

use std::marker::PhantomData;

use crate::kernels::instructions::Kernel;
use crate::kernels::lanes::{Lanes, SixteenLanes};
use crate::packed::matrix_kernel::MatrixKernel;
use crate::packed::number::PackedNumber;
use crate::packed::output_rows::OutputRows;
use crate::packed::strip::{PackedStrip, PanelOffset, ROWS};
use crate::packed::vectors::VectorBatch;

/// A strip of a matrix of kind `M` with numbers of type `N`, the vectors that it is multiplied with, and the output.
pub(super) struct VectorProduct<'a, M, N> {
    strip: PackedStrip<'a>,
    vectors: VectorBatch<'a>,
    out: OutputRows<'a>,
    kind: PhantomData<(M, N)>,
}

impl<'a, M, N> VectorProduct<'a, M, N> {
    pub fn new(strip: PackedStrip<'a>, vectors: VectorBatch<'a>, out: OutputRows<'a>) -> Self {
        VectorProduct { strip, vectors, out, kind: PhantomData }
    }
}

impl<M: MatrixKernel, N: PackedNumber> Kernel for VectorProduct<'_, M, N> {
    type Output = ();

    #[inline(always)]
    fn run<I: Lanes>(self, simd: I) {
        self.multiply(simd.sixteen());
    }
}

impl<M: MatrixKernel, N: PackedNumber> VectorProduct<'_, M, N> {
    /// Multiplies as many panels at once as leave registers for the sums of up to eight vectors: the weights are then
    /// unpacked once for all of these vectors.
    #[inline(always)]
    fn multiply<L: SixteenLanes>(&self, lanes: L) {
        let panels = self.strip.panels();
        let height = L::ACCUMULATORS / self.vectors.count.next_power_of_two().min(8);
        let mut first = 0;
        while first < panels {
            let left = panels - first;
            if L::ACCUMULATORS >= 4 && left >= 4 && height >= 4 {
                self.panels::<L, 4>(lanes, first);
                first += 4;
            } else if L::ACCUMULATORS >= 2 && left >= 2 && height >= 2 {
                self.panels::<L, 2>(lanes, first);
                first += 2;
            } else {
                self.panels::<L, 1>(lanes, first);
                first += 1;
            }
        }
    }

    /// Multiplies `R` panels with all vectors, as many vectors at once as the registers have sums for.
    #[inline(always)]
    fn panels<L: SixteenLanes, const R: usize>(&self, lanes: L, first: usize) {
        let mut vector = 0;
        while vector < self.vectors.count {
            let left = self.vectors.count - vector;
            if left >= 8 && L::ACCUMULATORS >= 8 * R {
                self.tile::<L, R, 8>(lanes, first, vector);
                vector += 8;
            } else if let Some(halves) = lanes.halves().filter(|_| left >= 8) {
                self.tile_by_halves::<L::Half, R, 8>(halves, first, vector);
                vector += 8;
            } else if left >= 4 && L::ACCUMULATORS >= 4 * R {
                self.tile::<L, R, 4>(lanes, first, vector);
                vector += 4;
            } else if left >= 2 && L::ACCUMULATORS >= 2 * R {
                self.tile::<L, R, 2>(lanes, first, vector);
                vector += 2;
            } else {
                self.tile::<L, R, 1>(lanes, first, vector);
                vector += 1;
            }
        }
    }

    #[inline(always)]
    fn tile<L: SixteenLanes, const R: usize, const V: usize>(&self, lanes: L, first: usize, vector: usize) {
        let sums = self.sums::<L, R, V>(lanes, first, vector);
        self.write([(lanes, sums)], first, vector);
    }

    #[inline(always)]
    fn tile_by_halves<L: SixteenLanes, const R: usize, const V: usize>(
        &self,
        halves: [L; 2],
        first: usize,
        vector: usize,
    ) {
        let [low, high] = halves;
        let low = (low, self.sums::<L, R, V>(low, first, vector));
        let high = (high, self.sums::<L, R, V>(high, first, vector));
        self.write([low, high], first, vector);
    }

    #[inline(always)]
    fn sums<L: SixteenLanes, const R: usize, const V: usize>(
        &self,
        lanes: L,
        first: usize,
        vector: usize,
    ) -> [[L::F32x16; V]; R] {
        let PackedStrip { lines, cols, .. } = self.strip;
        let mut vectors = [&[][..]; V];
        for (v, slot) in vectors.iter_mut().enumerate() {
            *slot = self.vectors.part(vector + v, cols.0, cols.1);
        }
        M::tile::<L, N, R, V>(lanes, lines, PanelOffset { panels: self.strip.panels(), first }, vectors)
    }

    /// Writes sums; `P` tokens, one for all lanes or one for each half, share the rows.
    #[inline(always)]
    fn write<L: SixteenLanes, const P: usize, const R: usize, const V: usize>(
        &self,
        parts: [(L, [[L::F32x16; V]; R]); P],
        first: usize,
        vector: usize,
    ) {
        let PackedStrip { start, rows, .. } = self.strip;
        let mut row = [0.0; ROWS];
        for r in 0..R {
            let begin = (first + r) * ROWS;
            for v in 0..V {
                for (lanes, sums) in &parts {
                    lanes.store(sums[r][v], &mut row);
                }
                self.out.write(vector + v, start + begin, &row[..ROWS.min(rows - begin)]);
            }
        }
    }
}
