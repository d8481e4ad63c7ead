//! The kernel of the core: strips of a 2:4 matrix times vectors.

use crate::kernels::cache_line::CacheLine;
use crate::kernels::lanes::SixteenLanes;
use crate::kernels::prefetch::{hardware_prefetcher_stops_at_pages, prefetch};
use crate::packed::matrix_kernel::MatrixKernel;
use crate::packed::number::PackedNumber;
use crate::packed::strip::{PANELS, PackedStrip, PanelOffset, ROWS, STRIP_ROWS};
use crate::packed::two_four_codes::{GROUPS_PER_WORD, SECOND_COLUMNS, first_column, second_column};
use crate::packed::vectors::{INTERLEAVED, InterleavedEntry};

/// Prefetch distance in groups: about the latency of memory at its full rate.
const PREFETCH_DISTANCE: usize = 32;

/// Chunks of [`GROUPS_PER_WORD`] groups, 80 columns in all, that are added up before their sum is added to the total. Sums
/// of sums keep the error of a long row small.
const CHUNKS: usize = 2;

/// Kept numbers of a row in [`CHUNKS`] chunks.
const KEPT: usize = 2 * CHUNKS * GROUPS_PER_WORD;

/// A 2:4 core.
pub(super) struct TwoFourKernel;

impl MatrixKernel for TwoFourKernel {
    /// Multiplies group by group: the row of each lane selects its two numbers of the group's four by its code.
    #[inline(always)]
    fn tile<L: SixteenLanes, N: PackedNumber, const R: usize, const V: usize>(
        lanes: L,
        strip: &[CacheLine],
        offset: PanelOffset,
        vectors: [&[f32]; V],
    ) -> [[L::F32x16; V]; R] {
        let PanelOffset { panels, first } = offset;
        let mut total = [[lanes.zero(); V]; R];
        let mut sums = [[lanes.zero(); V]; R];
        let quads: [&[[f32; 4]]; V] = vectors.map(|x| x.as_chunks().0);
        let groups = quads[0].len();
        let mut done = 0;
        // Two lines for each group and panel come at the full rate of memory without software prefetch, unless the hardware prefetcher
        // stops at the end of every page.
        let needs_prefetch = N::LINES == 1 || hardware_prefetcher_stops_at_pages();
        for (index, chunk) in strip.chunks(panels * (1 + GROUPS_PER_WORD * N::LINES)).enumerate() {
            let mut codes = [lanes.line_of_words(&SECOND_COLUMNS); R];
            for r in 0..R {
                codes[r] = lanes.line_of_words(&chunk[first + r]);
            }
            let count = GROUPS_PER_WORD.min(groups - done);
            let mut quads_here = [&quads[0][..0]; V];
            for v in 0..V {
                quads_here[v] = &quads[v][done..done + count];
            }
            let values = chunk[panels..].chunks_exact(panels * N::LINES);
            for (group, values) in values.enumerate().take(count) {
                let values = &values[first * N::LINES..(first + R) * N::LINES];
                if needs_prefetch {
                    for line in values {
                        prefetch(line, PREFETCH_DISTANCE * PANELS * size_of::<CacheLine>());
                    }
                }
                for r in 0..R {
                    let [value, other] = N::pair(lanes, &values[r * N::LINES..(r + 1) * N::LINES]);
                    let second = lanes.look_up(&SECOND_COLUMNS, codes[r]);
                    for v in 0..V {
                        let quad = lanes.repeat_four(&quads_here[v][group]);
                        sums[r][v] = lanes.fused(value, lanes.select(quad, codes[r]), sums[r][v]);
                        sums[r][v] = lanes.fused(other, lanes.select(quad, second), sums[r][v]);
                    }
                    codes[r] = lanes.shift_right_by_three(codes[r]);
                }
            }
            done += count;
            if index % CHUNKS == CHUNKS - 1 || done == groups {
                for r in 0..R {
                    for v in 0..V {
                        total[r][v] = lanes.add(total[r][v], sums[r][v]);
                        sums[r][v] = lanes.zero();
                    }
                }
            }
        }
        total
    }

    /// Multiplies some columns at a time, so that their entries of x stay in the first-level cache for all rows of the
    /// strip.
    #[inline(always)]
    fn interleaved<L: SixteenLanes, N: PackedNumber>(
        lanes: L,
        strip: PackedStrip<'_>,
        x: &[InterleavedEntry],
        totals: &mut [InterleavedEntry; STRIP_ROWS],
    ) {
        let panels = strip.panels();
        let (mut values, mut columns) = ([[0.0; ROWS]; KEPT], [[0; ROWS]; KEPT]);
        let lines = strip.lines.chunks(CHUNKS * panels * (1 + GROUPS_PER_WORD * N::LINES));
        for (lines, x) in lines.zip(x.chunks(CHUNKS * GROUPS_PER_WORD * 4)) {
            for panel in 0..panels {
                let offset = PanelOffset { panels, first: panel };
                unpack::<L, N>(lanes, lines, offset, &mut values, &mut columns);
                let totals = &mut totals[panel * ROWS..(panel + 1) * ROWS];
                if L::ACCUMULATORS >= 16 {
                    add_rows::<L, 2>(lanes, &values, &columns, x, totals);
                } else {
                    add_rows::<L, 1>(lanes, &values, &columns, x, totals);
                }
            }
        }
    }
}

/// Adds the products of up to [`KEPT`] kept numbers a row to the totals of a panel, `R` rows at a time.
#[inline(always)]
fn add_rows<L: SixteenLanes, const R: usize>(
    lanes: L,
    values: &[[f32; ROWS]; KEPT],
    columns: &[[u32; ROWS]; KEPT],
    x: &[InterleavedEntry],
    totals: &mut [InterleavedEntry],
) {
    let kept = x.len() / 2;
    for (index, totals) in totals.chunks_exact_mut(R).enumerate() {
        let row = index * R;
        let mut sums = [[lanes.zero(); INTERLEAVED / ROWS]; R];
        for (values, columns) in values.iter().zip(columns).take(kept) {
            for r in 0..R {
                let value = lanes.splat(values[row + r]);
                let x = &x[columns[row + r] as usize];
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

/// Unpacks the kept numbers of a panel, and their columns counted from the first of these chunks; the numbers of a row
/// are in the order in which they are added.
#[inline(always)]
fn unpack<L: SixteenLanes, N: PackedNumber>(
    lanes: L,
    lines: &[CacheLine],
    PanelOffset { panels, first }: PanelOffset,
    values: &mut [[f32; ROWS]; KEPT],
    columns: &mut [[u32; ROWS]; KEPT],
) {
    for (index, chunk) in lines.chunks(panels * (1 + GROUPS_PER_WORD * N::LINES)).enumerate() {
        let mut codes = chunk[first].0;
        for (group, lines) in chunk[panels..].chunks_exact(panels * N::LINES).enumerate() {
            let group = index * GROUPS_PER_WORD + group;
            let lines = &lines[first * N::LINES..(first + 1) * N::LINES];
            for line in lines {
                prefetch(line, CHUNKS * panels * (1 + GROUPS_PER_WORD * N::LINES) * size_of::<CacheLine>());
            }
            let [value, other] = N::pair(lanes, lines);
            lanes.store(value, &mut values[2 * group]);
            lanes.store(other, &mut values[2 * group + 1]);
            for lane in 0..ROWS {
                let code = codes[lane];
                columns[2 * group][lane] = 4 * group as u32 + first_column(code);
                columns[2 * group + 1][lane] = 4 * group as u32 + second_column(code);
                codes[lane] = code >> 3;
            }
        }
    }
}
