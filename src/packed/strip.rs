//! A strip times any number of vectors: cut into tiles that fit the registers, on the instruction set at hand.

use std::marker::PhantomData;

use super::layout::ROWS;
use super::layout::{STRIP, Strip};
use super::store::Store;
use super::vectors::{Outputs, Vectors};
use super::wide::WideRow;
use crate::kernels::cache_line::CacheLine;
use crate::kernels::instructions::Kernel;
use crate::kernels::lanes::{Lanes, SixteenLanes};

/// Panels of a strip that are worked on together, `R` from `first` on, of the `panels` that it has.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub panels: usize,
    pub first: usize,
}

/// A kind of matrix.
pub(super) trait Matrix {
    /// Multiplies `R` panels of a strip with `V` vectors; entry [r][v] holds panel r's rows.
    fn tile<L: SixteenLanes, S: Store, const R: usize, const V: usize>(
        lanes: L,
        strip: &[CacheLine],
        part: Part,
        vectors: [&[f32]; V],
    ) -> [[L::F32x16; V]; R];

    /// Multiplies a strip with a wide matrix, adding to its rows' totals, which are zero; the same sums as of `tile`,
    /// in the same order.
    fn wide<L: SixteenLanes, S: Store>(lanes: L, strip: Strip<'_>, x: &[WideRow], totals: &mut [WideRow; STRIP]);
}

/// A strip, what it is multiplied with, and where the result goes.
pub(super) struct StripProduct<'a, M, S> {
    strip: Strip<'a>,
    vectors: Vectors<'a>,
    out: Outputs<'a>,
    kind: PhantomData<(M, S)>,
}

impl<'a, M, S> StripProduct<'a, M, S> {
    pub fn new(strip: Strip<'a>, vectors: Vectors<'a>, out: Outputs<'a>) -> Self {
        StripProduct { strip, vectors, out, kind: PhantomData }
    }
}

impl<M: Matrix, S: Store> Kernel for StripProduct<'_, M, S> {
    type Output = ();

    #[inline(always)]
    fn run<I: Lanes>(self, simd: I) {
        self.multiply(simd.sixteen());
    }
}

impl<M: Matrix, S: Store> StripProduct<'_, M, S> {
    /// Takes as many panels at once as leave room for up to eight vectors: weights are unpacked once for all of them.
    #[inline(always)]
    fn multiply<L: SixteenLanes>(&self, lanes: L) {
        let panels = self.strip.panels();
        let height = L::ACCUMULATORS / self.vectors.count.next_power_of_two().min(8);
        let mut first = 0;
        while first < panels {
            let left = panels - first;
            if L::ACCUMULATORS >= 4 && left >= 4 && height >= 4 {
                self.part::<L, 4>(lanes, first);
                first += 4;
            } else if L::ACCUMULATORS >= 2 && left >= 2 && height >= 2 {
                self.part::<L, 2>(lanes, first);
                first += 2;
            } else {
                self.part::<L, 1>(lanes, first);
                first += 1;
            }
        }
    }

    #[inline(always)]
    fn part<L: SixteenLanes, const R: usize>(&self, lanes: L, first: usize) {
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
        let [upper, lower] = halves;
        let upper = (upper, self.sums::<L, R, V>(upper, first, vector));
        let lower = (lower, self.sums::<L, R, V>(lower, first, vector));
        self.write([upper, lower], first, vector);
    }

    #[inline(always)]
    fn sums<L: SixteenLanes, const R: usize, const V: usize>(
        &self,
        lanes: L,
        first: usize,
        vector: usize,
    ) -> [[L::F32x16; V]; R] {
        let Strip { lines, cols, .. } = self.strip;
        let mut vectors = [&[][..]; V];
        for (v, slot) in vectors.iter_mut().enumerate() {
            *slot = self.vectors.part(vector + v, cols.0, cols.1);
        }
        M::tile::<L, S, R, V>(lanes, lines, Part { panels: self.strip.panels(), first }, vectors)
    }

    /// Writes sums, whose rows `P` lanes share.
    #[inline(always)]
    fn write<L: SixteenLanes, const P: usize, const R: usize, const V: usize>(
        &self,
        parts: [(L, [[L::F32x16; V]; R]); P],
        first: usize,
        vector: usize,
    ) {
        let Strip { start, rows, .. } = self.strip;
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
