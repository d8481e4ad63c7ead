//! The core's kernel: strips of a 2:4 matrix times one or more vectors.

use super::lanes::{Lanes, Line, ask_ahead};
use super::layout::{GROUPS, PANELS, SECOND};
use super::store::Store;
use super::strip::{Part, Product};

/// Groups by which lines are asked for ahead of their use, about the latency of memory at its full rate.
const AHEAD: usize = 32;

/// Chunks of [`GROUPS`] groups that are added up before they go to the total: 320 columns. Sums of sums keep the
/// error of a long row small.
const CHUNKS: usize = 8;

/// A 2:4 matrix.
pub(super) struct Sparse;

impl Product for Sparse {
    /// Multiplies `R` panels of a strip with `V` vectors, each of whole groups; sums[r][v] gets panel r's rows.
    ///
    /// A strip is a run of chunks. Each holds a line of codes for every panel, then a group's values for every panel, group
    /// by group. A lane's row picks its two numbers of the group's four by its code.
    #[inline(always)]
    fn tile<L: Lanes, S: Store, const R: usize, const V: usize>(
        lanes: L,
        strip: &[Line],
        part: Part,
        vectors: [&[f32]; V],
    ) -> [[L::Floats; V]; R] {
        let Part { panels, first } = part;
        let mut total = [[lanes.zero(); V]; R];
        let mut sums = [[lanes.zero(); V]; R];
        let quads: [&[[f32; 4]]; V] = vectors.map(|x| x.as_chunks().0);
        let groups = quads[0].len();
        let mut done = 0;
        for (index, chunk) in strip.chunks(panels * (1 + GROUPS * S::LINES)).enumerate() {
            let mut codes = [lanes.words(&SECOND); R];
            for r in 0..R {
                codes[r] = lanes.words(&chunk[first + r]);
            }
            let count = GROUPS.min(groups - done);
            let mut quads_here = [&quads[0][..0]; V];
            for v in 0..V {
                quads_here[v] = &quads[v][done..done + count];
            }
            let values = chunk[panels..].chunks_exact(panels * S::LINES);
            for (group, values) in values.enumerate().take(count) {
                let values = &values[first * S::LINES..(first + R) * S::LINES];
                // Two lines a row already come as fast as memory gives them, and asking for more slows them down.
                if S::LINES == 1 {
                    for line in values {
                        ask_ahead(line, AHEAD * PANELS * size_of::<Line>());
                    }
                }
                for r in 0..R {
                    let [value, other] = S::pair(lanes, &values[r * S::LINES..(r + 1) * S::LINES]);
                    let second = lanes.look_up(&SECOND, codes[r]);
                    for v in 0..V {
                        let quad = lanes.quads(&quads_here[v][group]);
                        sums[r][v] = lanes.fused(value, lanes.select(quad, codes[r]), sums[r][v]);
                        sums[r][v] = lanes.fused(other, lanes.select(quad, second), sums[r][v]);
                    }
                    codes[r] = lanes.drop_three_bits(codes[r]);
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
}
