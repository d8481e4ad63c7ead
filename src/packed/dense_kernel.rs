//! The kernel of the wrappers: strips of a dense block times vectors.

use crate::kernels::cache_line::CacheLine;
use crate::kernels::lanes::SixteenLanes;
use crate::packed::matrix_kernel::MatrixKernel;
use crate::packed::number::PackedNumber;
use crate::packed::strip::{PackedStrip, PanelOffset, ROWS, STRIP_ROWS};
use crate::packed::vectors::{INTERLEAVED, InterleavedEntry};

/// Pairs of columns that are added up before their sum is added to the total. Sums of sums keep the error of a long row
/// small.
const PAIRS: usize = 16;

/// The dense blocks of a wrapper.
pub(super) struct DenseKernel;

impl MatrixKernel for DenseKernel {
    /// Multiplies column pair by column pair; of the last pair of an odd number of columns, only the first number counts.
    #[inline(always)]
    fn tile<L: SixteenLanes, N: PackedNumber, const R: usize, const V: usize>(
        lanes: L,
        strip: &[CacheLine],
        offset: PanelOffset,
        vectors: [&[f32]; V],
    ) -> [[L::F32x16; V]; R] {
        let PanelOffset { panels, first } = offset;
        let mut total = [[lanes.zero(); V]; R];
        let pairs: [&[[f32; 2]]; V] = vectors.map(|x| x.as_chunks().0);
        let width = panels * N::LINES;
        let count = pairs[0].len();
        for (index, strip) in strip[..count * width].chunks(PAIRS * width).enumerate() {
            let mut sums = [[lanes.zero(); V]; R];
            let start = index * PAIRS;
            let here = PAIRS.min(count - start);
            let mut pairs_here = [&pairs[0][..0]; V];
            for v in 0..V {
                pairs_here[v] = &pairs[v][start..start + here];
            }
            for (pair, lines) in strip.chunks_exact(width).enumerate().take(here) {
                let lines = &lines[first * N::LINES..(first + R) * N::LINES];
                for r in 0..R {
                    let [value, other] = N::pair(lanes, &lines[r * N::LINES..(r + 1) * N::LINES]);
                    for v in 0..V {
                        let [x, next] = pairs_here[v][pair];
                        sums[r][v] = lanes.fused(value, lanes.splat(x), sums[r][v]);
                        sums[r][v] = lanes.fused(other, lanes.splat(next), sums[r][v]);
                    }
                }
            }
            for r in 0..R {
                for v in 0..V {
                    total[r][v] = lanes.add(total[r][v], sums[r][v]);
                }
            }
        }
        if vectors[0].len() % 2 == 1 {
            let lines = &strip[count * width + first * N::LINES..][..R * N::LINES];
            for r in 0..R {
                let [value, _] = N::pair(lanes, &lines[r * N::LINES..(r + 1) * N::LINES]);
                for v in 0..V {
                    total[r][v] = lanes.fused(value, lanes.splat(vectors[v][2 * count]), total[r][v]);
                }
            }
        }
        total
    }

    #[inline(always)]
    fn interleaved<L: SixteenLanes, N: PackedNumber>(
        lanes: L,
        strip: PackedStrip<'_>,
        x: &[InterleavedEntry],
        totals: &mut [InterleavedEntry; STRIP_ROWS],
    ) {
        let panels = strip.panels();
        let mut values = [[0.0; ROWS]; 2 * PAIRS];
        let lines = strip.lines.chunks(PAIRS * panels * N::LINES);
        let even = x.len() / 2 * 2;
        for (lines, x) in lines.zip(x[..even].chunks(2 * PAIRS)) {
            for panel in 0..panels {
                for (pair, lines) in lines.chunks_exact(panels * N::LINES).enumerate() {
                    let [value, other] = N::pair(lanes, &lines[panel * N::LINES..(panel + 1) * N::LINES]);
                    lanes.store(value, &mut values[2 * pair]);
                    lanes.store(other, &mut values[2 * pair + 1]);
                }
                let totals = &mut totals[panel * ROWS..(panel + 1) * ROWS];
                if L::ACCUMULATORS >= 16 {
                    add_rows::<L, 4>(lanes, &values, x, totals);
                } else {
                    add_rows::<L, 1>(lanes, &values, x, totals);
                }
            }
        }
        if even < x.len() {
            let lines = &strip.lines[even / 2 * panels * N::LINES..];
            for panel in 0..panels {
                let [value, _] = N::pair(lanes, &lines[panel * N::LINES..(panel + 1) * N::LINES]);
                lanes.store(value, &mut values[0]);
                for row in 0..ROWS {
                    let total = &mut totals[panel * ROWS + row];
                    for w in 0..INTERLEAVED / ROWS {
                        let sum =
                            lanes.fused(lanes.splat(values[0][row]), lanes.load(&x[even][w]), lanes.load(&total[w]));
                        lanes.store(sum, &mut total[w]);
                    }
                }
            }
        }
    }
}

/// Adds the products of up to 2 · [`PAIRS`] columns to the totals of a panel, `R` rows at a time.
#[inline(always)]
fn add_rows<L: SixteenLanes, const R: usize>(
    lanes: L,
    values: &[[f32; ROWS]; 2 * PAIRS],
    x: &[InterleavedEntry],
    totals: &mut [InterleavedEntry],
) {
    for (index, totals) in totals.chunks_exact_mut(R).enumerate() {
        let row = index * R;
        let mut sums = [[lanes.zero(); INTERLEAVED / ROWS]; R];
        for (x, values) in x.iter().zip(values) {
            for r in 0..R {
                let value = lanes.splat(values[row + r]);
                for w in 0..INTERLEAVED / ROWS {
                    sums[r][w] = lanes.fused(value, lanes.load(&x[w]), sums[r][w]);
                }
            }
        }
        for (total, sums) in totals.iter_mut().zip(sums) {
            for w in 0..INTERLEAVED / ROWS {
                let sum = lanes.add(lanes.load(&total[w]), sums[w]);
                lanes.store(sum, &mut total[w]);
            }
        }
    }
}
