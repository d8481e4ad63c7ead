//! The wrappers' kernel: strips of a dense block times one or more vectors.

use super::lanes::{Lanes, Line};
use super::store::Store;
use super::strip::{Part, Product};

/// Pairs of columns that are added up before they go to the total.
const PAIRS: usize = 8;

/// A dense block of a wrapper.
pub(super) struct Dense;

impl Product for Dense {
    /// Multiplies `R` panels of a strip with `V` vectors; sums[r][v] gets panel r's rows.
    ///
    /// A strip is a run of column pairs: two numbers a row for every panel. The last pair of an odd number of columns has
    /// one that counts.
    #[inline(always)]
    fn tile<L: Lanes, S: Store, const R: usize, const V: usize>(
        lanes: L,
        strip: &[Line],
        part: Part,
        vectors: [&[f32]; V],
    ) -> [[L::Floats; V]; R] {
        let Part { panels, first } = part;
        let mut total = [[lanes.zero(); V]; R];
        let pairs: [&[[f32; 2]]; V] = vectors.map(|x| x.as_chunks().0);
        let width = panels * S::LINES;
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
                let lines = &lines[first * S::LINES..(first + R) * S::LINES];
                for r in 0..R {
                    let [value, other] = S::pair(lanes, &lines[r * S::LINES..(r + 1) * S::LINES]);
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
            let lines = &strip[count * width + first * S::LINES..][..R * S::LINES];
            for r in 0..R {
                let [value, _] = S::pair(lanes, &lines[r * S::LINES..(r + 1) * S::LINES]);
                for v in 0..V {
                    total[r][v] = lanes.fused(value, lanes.splat(vectors[v][2 * count]), total[r][v]);
                }
            }
        }
        total
    }
}
