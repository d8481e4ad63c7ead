//! Dense products to compare with: a kernel of the benches' own, in f32 and bf16, laid out as the packed layers are,
//! and faer's.

use armor_core::Precision;
use bytemuck::{Pod, Zeroable};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use half::bf16;
use memmap2::MmapMut;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

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

/// A dense weight in f32 or bf16, in strips of 64 rows, column pair by column pair; rows a multiple of 64, columns of 2.
pub struct Dense {
    arch: Arch,
    cols: usize,
    precision: Precision,
    lines: Lines,
}

impl Dense {
    /// Packs a weight given by its entries.
    pub fn new(rows: usize, cols: usize, precision: Precision, entry: impl Fn(usize, usize) -> f32) -> Self {
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
        Dense { arch: Arch::new(), cols, precision, lines: memory }
    }

    pub fn bytes(&self) -> usize {
        self.lines.bytes()
    }

    /// Multiplies vectors of `cols` entries, `stride` apart, to y, strip by strip: [strip][vector][64 rows]; with `ahead`
    /// it prefetches lines, without it the hardware prefetcher alone does.
    pub fn multiply(&self, x: &[f32], stride: usize, y: &mut [f32], ahead: bool) {
        let count = x.len() / stride;
        let strip = PANELS * ROWS * self.cols / 2 * self.lines_of_a_pair() / ROWS;
        let work = |(lines, y): (&[Line], &mut [f32])| {
            let cols = self.cols;
            match self.precision {
                Precision::F32 => self.arch.dispatch(Strip::<2> { lines, cols, x, stride, count, y, ahead }),
                _ => self.arch.dispatch(Strip::<1> { lines, cols, x, stride, count, y, ahead }),
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
    lines: &'a [Line],
    cols: usize,
    x: &'a [f32],
    stride: usize,
    count: usize,
    y: &'a mut [f32],
    ahead: bool,
}

impl<const N: usize> WithSimd for Strip<'_, N> {
    type Output = ();

    /// Tiles as large as the registers hold.
    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        match (self.count, S::F32_LANES) {
            (..4, 16) => self.tiles::<S, 4, 1>(simd),
            (..4, _) => self.tiles::<S, 8, 1>(simd),
            (8.., 16) => self.tiles::<S, 2, 8>(simd),
            (_, 16) => self.tiles::<S, 4, 4>(simd),
            _ => self.tiles::<S, 2, 4>(simd),
        }
    }
}

impl<const N: usize> Strip<'_, N> {
    /// All of the product, `R` registers of rows times `V` vectors at once.
    #[inline(always)]
    fn tiles<S: Simd, const R: usize, const V: usize>(&mut self, simd: S) {
        for first in (0..PANELS * ROWS / S::F32_LANES).step_by(R) {
            for vector in (0..self.count).step_by(V) {
                self.tile::<S, R, V>(simd, first, vector);
            }
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const R: usize, const V: usize>(&mut self, simd: S, first: usize, vector: usize) {
        let mut sums = [[simd.splat_f32s(0.0); V]; R];
        let mut x = [&[][..]; V];
        for (v, x) in x.iter_mut().enumerate() {
            *x = self.x[(vector + v) * self.stride..][..self.cols].as_chunks::<2>().0;
        }
        let registers = ROWS / S::F32_LANES;
        for (pair, lines) in self.lines.chunks_exact(PANELS * N).enumerate().take(self.cols / 2) {
            for (r, sums) in sums.iter_mut().enumerate() {
                let (panel, part) = ((first + r) / registers, (first + r) % registers);
                let lines = &lines[panel * N..(panel + 1) * N];
                if self.ahead && part == 0 {
                    lines.iter().for_each(prefetch);
                }
                let [value, other] = by_register(simd, lines, part);
                for (sum, x) in sums.iter_mut().zip(x) {
                    let [x, next] = x[pair];
                    *sum = simd.mul_add_f32s(value, simd.splat_f32s(x), *sum);
                    *sum = simd.mul_add_f32s(other, simd.splat_f32s(next), *sum);
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for (v, sum) in sums.iter().enumerate() {
                let start = (vector + v) * PANELS * ROWS + (first + r) * S::F32_LANES;
                let row: &[f32] = bytemuck::cast_slice(std::slice::from_ref(sum));
                self.y[start..][..S::F32_LANES].copy_from_slice(row);
            }
        }
    }
}

/// Prefetches the line 8 KiB after this one, where the processor has an instruction for it.
#[inline(always)]
fn prefetch(line: &Line) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads no value and raises no fault, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>((&raw const *line).wrapping_byte_add(8 << 10).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

/// Register `part` of the rows of a panel's pair of columns: one column, then the other.
#[inline(always)]
fn by_register<S: Simd>(simd: S, lines: &[Line], part: usize) -> [S::f32s; 2] {
    if let [line, other] = lines {
        return [
            S::as_simd_f32s(bytemuck::cast_slice(&line.0)).0[part],
            S::as_simd_f32s(bytemuck::cast_slice(&other.0)).0[part],
        ];
    }
    let words = S::as_simd_u32s(&lines[0].0).0[part];
    let lower = simd.wrapping_dyn_shl_u32s(words, simd.splat_u32s(16));
    let upper = simd.and_u32s(words, simd.splat_u32s(0xffff_0000));
    [simd.transmute_f32s_u32s(lower), simd.transmute_f32s_u32s(upper)]
}

/// faer's product of a row-major weight with `batch` vectors, one after the other; so are the outputs.
pub fn by_faer(weight: &[f32], cols: usize, x: &[f32], y: &mut [f32], threads: usize) {
    let (rows, batch) = (weight.len() / cols, x.len() / cols);
    let par = if threads == 1 { Par::Seq } else { Par::rayon(threads) };
    let weight = MatRef::from_row_major_slice(weight, rows, cols);
    let x = MatRef::from_column_major_slice(x, cols, batch);
    matmul(MatMut::from_column_major_slice_mut(y, rows, batch), Accum::Replace, weight, x, 1.0, par);
}
