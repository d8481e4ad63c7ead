//! The core's kernel: strips of a 2:4 matrix times one or more vectors.

use super::layout::ROWS;
use super::layout::{GROUPS, PANELS, SECOND, STRIP, Strip};
use super::store::Store;
use super::strip::{Matrix, Part};
use super::wide::{WIDTH, WideRow};
use crate::kernels::cache_line::CacheLine;
use crate::kernels::lanes::SixteenLanes;
use crate::kernels::prefetch::hardware_prefetcher_stops_at_pages;
use crate::kernels::prefetch::prefetch;

/// Groups by which lines are asked for ahead of their use, about the latency of memory at its full rate.
const AHEAD: usize = 32;

/// Chunks of [`GROUPS`] groups that are added up before they go to the total: 80 columns. Sums of sums keep the error of
/// a long row small.
const CHUNKS: usize = 2;

/// Kept numbers of a row in so many chunks.
const KEPT: usize = 2 * CHUNKS * GROUPS;

/// A 2:4 matrix.
pub(super) struct Sparse;

impl Matrix for Sparse {
    /// Multiplies `R` panels of a strip with `V` vectors, each of whole groups; sums[r][v] gets panel r's rows.
    ///
    /// A strip is a run of chunks. Each holds a line of codes for every panel, then a group's values for every panel, group
    /// by group. A lane's row picks its two numbers of the group's four by its code.
    #[inline(always)]
    fn tile<L: SixteenLanes, S: Store, const R: usize, const V: usize>(
        lanes: L,
        strip: &[CacheLine],
        part: Part,
        vectors: [&[f32]; V],
    ) -> [[L::F32x16; V]; R] {
        let Part { panels, first } = part;
        let mut total = [[lanes.zero(); V]; R];
        let mut sums = [[lanes.zero(); V]; R];
        let quads: [&[[f32; 4]]; V] = vectors.map(|x| x.as_chunks().0);
        let groups = quads[0].len();
        let mut done = 0;
        // Where the processor's own guess goes on, two lines a row come as fast as memory gives them without asking.
        let ahead = S::LINES == 1 || hardware_prefetcher_stops_at_pages();
        for (index, chunk) in strip.chunks(panels * (1 + GROUPS * S::LINES)).enumerate() {
            let mut codes = [lanes.line_of_words(&SECOND); R];
            for r in 0..R {
                codes[r] = lanes.line_of_words(&chunk[first + r]);
            }
            let count = GROUPS.min(groups - done);
            let mut quads_here = [&quads[0][..0]; V];
            for v in 0..V {
                quads_here[v] = &quads[v][done..done + count];
            }
            let values = chunk[panels..].chunks_exact(panels * S::LINES);
            for (group, values) in values.enumerate().take(count) {
                let values = &values[first * S::LINES..(first + R) * S::LINES];
                if ahead {
                    for line in values {
                        prefetch(line, AHEAD * PANELS * size_of::<CacheLine>());
                    }
                }
                for r in 0..R {
                    let [value, other] = S::pair(lanes, &values[r * S::LINES..(r + 1) * S::LINES]);
                    let second = lanes.look_up(&SECOND, codes[r]);
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

    /// Works through x some columns at a time, so that they stay in the first-level cache for all rows of the strip.
    #[inline(always)]
    fn wide<L: SixteenLanes, S: Store>(lanes: L, strip: Strip<'_>, x: &[WideRow], totals: &mut [WideRow; STRIP]) {
        let panels = strip.panels();
        let (mut values, mut columns) = ([[0.0; ROWS]; KEPT], [[0; ROWS]; KEPT]);
        let lines = strip.lines.chunks(CHUNKS * panels * (1 + GROUPS * S::LINES));
        for (lines, x) in lines.zip(x.chunks(CHUNKS * GROUPS * 4)) {
            for panel in 0..panels {
                let part = Part { panels, first: panel };
                unpack::<L, S>(lanes, lines, part, &mut values, &mut columns);
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

/// Adds some columns' part to the totals of a panel, `R` rows at a time.
#[inline(always)]
fn add_rows<L: SixteenLanes, const R: usize>(
    lanes: L,
    values: &[[f32; ROWS]; KEPT],
    columns: &[[u32; ROWS]; KEPT],
    x: &[WideRow],
    totals: &mut [WideRow],
) {
    let kept = x.len() / 2;
    for (index, totals) in totals.chunks_exact_mut(R).enumerate() {
        let row = index * R;
        let mut sums = [[lanes.zero(); WIDTH / ROWS]; R];
        for (values, columns) in values.iter().zip(columns).take(kept) {
            for r in 0..R {
                let value = lanes.splat(values[row + r]);
                let x = &x[columns[row + r] as usize];
                for w in 0..WIDTH / ROWS {
                    sums[r][w] = lanes.fused(value, lanes.load(&x[w]), sums[r][w]);
                }
            }
        }
        for (total, sums) in totals.iter_mut().zip(sums) {
            for w in 0..WIDTH / ROWS {
                let sum = lanes.add(lanes.load(&total[w]), sums[w]);
                lanes.store(sum, &mut total[w]);
            }
        }
    }
}

/// Unpacks a panel's kept numbers and their columns, counted from the first of these chunks; a row's are in the order in
/// which they are added.
#[inline(always)]
fn unpack<L: SixteenLanes, S: Store>(
    lanes: L,
    lines: &[CacheLine],
    Part { panels, first }: Part,
    values: &mut [[f32; ROWS]; KEPT],
    columns: &mut [[u32; ROWS]; KEPT],
) {
    for (index, chunk) in lines.chunks(panels * (1 + GROUPS * S::LINES)).enumerate() {
        let mut codes = chunk[first].0;
        for (group, lines) in chunk[panels..].chunks_exact(panels * S::LINES).enumerate() {
            let group = index * GROUPS + group;
            let lines = &lines[first * S::LINES..(first + 1) * S::LINES];
            for line in lines {
                prefetch(line, CHUNKS * panels * (1 + GROUPS * S::LINES) * size_of::<CacheLine>());
            }
            let [value, other] = S::pair(lanes, lines);
            lanes.store(value, &mut values[2 * group]);
            lanes.store(other, &mut values[2 * group + 1]);
            for lane in 0..ROWS {
                let code = codes[lane];
                columns[2 * group][lane] = 4 * group as u32 + (code & 3);
                columns[2 * group + 1][lane] = 4 * group as u32 + ((code + 1 + (code >> 2 & 1)) & 3);
                codes[lane] = code >> 3;
            }
        }
    }
}
