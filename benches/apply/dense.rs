//! Dense products to compare with: a kernel of the benches' own, in f32 and bf16, laid out as the packed layers are,
//! and faer's.

use armor_core::Precision;
use bytemuck::{Pod, Zeroable};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use half::bf16;
use memmap2::MmapMut;
use pulp::x86::V4;
use rayon::prelude::*;
use std::arch::x86_64::__m512;

const ROWS: usize = 16;
const PANELS: usize = 4;

/// A cache line: a number for each of sixteen rows, or two of bf16.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u32; ROWS]);

/// Cache lines in large pages, as the packed layers have them.
pub struct Lines(MmapMut);

impl Lines {
    pub fn new(bytes: usize) -> Self {
        let mut map = MmapMut::map_anon(bytes).expect("memory");
        let _ = map.advise(memmap2::Advice::HugePage);
        // Pages are real only once they are written.
        map.fill(1);
        Lines(map)
    }

    pub fn bytes(&self) -> usize {
        self.0.len()
    }

    pub fn floats(&self) -> &[f32] {
        bytemuck::cast_slice(&self.0)
    }

    fn as_slice(&self) -> &[Line] {
        bytemuck::cast_slice(&self.0)
    }
}

/// A dense weight in f32 or bf16, in strips of 64 rows, column pair by column pair, for AVX-512; rows a multiple of 64,
/// columns of 2.
pub struct Dense {
    simd: V4,
    cols: usize,
    precision: Precision,
    lines: Lines,
}

impl Dense {
    /// Packs a weight given by its entries; `None` where the CPU lacks AVX-512.
    pub fn new(
        rows: usize,
        cols: usize,
        precision: Precision,
        entry: impl Fn(usize, usize) -> f32 + Sync,
    ) -> Option<Self> {
        let simd = V4::try_new()?;
        assert!(rows.is_multiple_of(PANELS * ROWS) && cols.is_multiple_of(2), "{rows} × {cols} has ragged strips");
        let mut lines = Vec::with_capacity(rows / ROWS * cols);
        for start in (0..rows).step_by(PANELS * ROWS) {
            for j in (0..cols).step_by(2) {
                for panel in 0..PANELS {
                    let pair = |lane: usize| [0, 1].map(|slot| entry(start + panel * ROWS + lane, j + slot));
                    let pairs: [[f32; 2]; ROWS] = std::array::from_fn(pair);
                    match precision {
                        Precision::F32 => lines.extend([0, 1].map(|slot| Line(pairs.map(|pair| pair[slot].to_bits())))),
                        _ => lines.push(Line(pairs.map(|pair| {
                            let [lower, upper] = pair.map(|x| u32::from(bf16::from_f32(x).to_bits()));
                            lower | upper << 16
                        }))),
                    }
                }
            }
        }
        let mut memory = Lines::new(size_of_val(lines.as_slice()));
        memory.0.copy_from_slice(bytemuck::cast_slice(&lines));
        Some(Dense { simd, cols, precision, lines: memory })
    }

    pub fn bytes(&self) -> usize {
        self.lines.bytes()
    }

    /// Multiplies vectors of `cols` entries, `stride` apart, to y, strip by strip: [strip][vector][64 rows].
    pub fn multiply(&self, x: &[f32], stride: usize, y: &mut [f32]) {
        let count = x.len() / stride;
        let strip = PANELS * ROWS * self.cols / 2 * self.lines_of_a_pair() / ROWS;
        let work = |(lines, y): (&[Line], &mut [f32])| {
            let simd = self.simd;
            match self.precision {
                Precision::F32 => simd.vectorize(Strip::<2> { simd, lines, cols: self.cols, x, stride, count, y }),
                _ => simd.vectorize(Strip::<1> { simd, lines, cols: self.cols, x, stride, count, y }),
            }
        };
        self.lines.as_slice().par_chunks_exact(strip).zip(y.par_chunks_exact_mut(PANELS * ROWS * count)).for_each(work);
    }

    fn lines_of_a_pair(&self) -> usize {
        match self.precision {
            Precision::F32 => 2,
            _ => 1,
        }
    }
}

/// A strip with `N` lines for a panel's pair of columns.
struct Strip<'a, const N: usize> {
    simd: V4,
    lines: &'a [Line],
    cols: usize,
    x: &'a [f32],
    stride: usize,
    count: usize,
    y: &'a mut [f32],
}

impl<const N: usize> pulp::NullaryFnOnce for Strip<'_, N> {
    type Output = ();

    #[inline(always)]
    fn call(mut self) {
        let mut vector = 0;
        if self.count < 4 {
            while vector < self.count {
                self.tile::<4, 1>(0, vector);
                vector += 1;
            }
            return;
        }
        if self.count < 8 {
            while vector < self.count {
                self.tile::<4, 4>(0, vector);
                vector += 4;
            }
            return;
        }
        for first in [0, 2] {
            for vector in (0..self.count).step_by(8) {
                self.tile::<2, 8>(first, vector);
            }
        }
    }
}

impl<const N: usize> Strip<'_, N> {
    #[inline(always)]
    fn pair(&self, lines: &[Line]) -> [__m512; 2] {
        let avx = self.simd.avx512f;
        if N == 2 {
            return [bytemuck::cast(lines[0].0), bytemuck::cast(lines[1].0)];
        }
        let words = bytemuck::cast(lines[0].0);
        let upper = avx._mm512_set1_epi32(0xffff_0000_u32 as i32);
        [
            avx._mm512_castsi512_ps(avx._mm512_slli_epi32::<16>(words)),
            avx._mm512_castsi512_ps(avx._mm512_and_si512(words, upper)),
        ]
    }

    #[inline(always)]
    fn tile<const R: usize, const V: usize>(&mut self, first: usize, vector: usize) {
        let avx = self.simd.avx512f;
        let mut sums = [[avx._mm512_setzero_ps(); V]; R];
        let mut x = [&[][..]; V];
        for (v, x) in x.iter_mut().enumerate() {
            *x = self.x[(vector + v) * self.stride..][..self.cols].as_chunks::<2>().0;
        }
        for (pair, lines) in self.lines.chunks_exact(PANELS * N).enumerate().take(self.cols / 2) {
            let lines = &lines[first * N..(first + R) * N];
            for r in 0..R {
                let [value, other] = self.pair(&lines[r * N..(r + 1) * N]);
                for v in 0..V {
                    let [x, next] = x[v][pair];
                    sums[r][v] = avx._mm512_fmadd_ps(value, avx._mm512_set1_ps(x), sums[r][v]);
                    sums[r][v] = avx._mm512_fmadd_ps(other, avx._mm512_set1_ps(next), sums[r][v]);
                }
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            for (v, sum) in sums.into_iter().enumerate() {
                let row: [f32; ROWS] = bytemuck::cast(sum);
                self.y[(vector + v) * PANELS * ROWS + (first + r) * ROWS..][..ROWS].copy_from_slice(&row);
            }
        }
    }
}

/// faer's product of a row-major weight with `batch` vectors, one after the other; so are the outputs.
pub fn by_faer(weight: &[f32], cols: usize, x: &[f32], y: &mut [f32], threads: usize) {
    let (rows, batch) = (weight.len() / cols, x.len() / cols);
    let par = if threads == 1 { Par::Seq } else { Par::rayon(threads) };
    let weight = MatRef::from_row_major_slice(weight, rows, cols);
    let x = MatRef::from_column_major_slice(x, cols, batch);
    matmul(MatMut::from_column_major_slice_mut(y, rows, batch), Accum::Replace, weight, x, 1.0, par);
}
