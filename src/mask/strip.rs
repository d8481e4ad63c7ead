//! The inner kernel of a sweep: every group of a strip of rows, for up to 16 blocks that share one right wrapper.
//!
//! Blocks are lanes: the small solves of one group run for all of them at once, then each lane's gradient row takes
//! its rank-M change. Dispatched at run time to the widest instructions that the CPU has.

use pulp::{Simd, WithSimd};

use super::groups::GroupTables;
use crate::sparse_core::{CoreRowsMut, columns};

/// Blocks that run side by side: one AVX-512 register of f32.
pub(super) const LANES: usize = 16;

/// One number of each lane.
type Lanes = [f32; LANES];

/// Most masks that a pattern has: 4 of 8.
const MOST_MASKS: usize = 70;

/// A strip of rows in up to 16 blocks of one column panel.
pub(super) struct Strip<'a> {
    pub tables: &'a GroupTables,
    /// Kept and all columns of a group.
    pub pattern: (usize, usize),
    /// Number of blocks, rows of a block, columns of a block.
    pub shape: (usize, usize, usize),
    /// First and last + 1 row of the strip within its block.
    pub rows: (usize, usize),
    /// Half gradients, [lane][p × q].
    pub gradients: &'a mut [f32],
    /// Gram matrices P = AᵀA, [lane][p × p].
    pub left_grams: &'a [f32],
    /// Gram matrix Q = B̃ B̃ᵀ, q × q.
    pub right_gram: &'a [f32],
    /// Core of the blocks, one after the other.
    pub core: CoreRowsMut<'a>,
    /// Temperature and uniform numbers [lane][row][group]; `None` keeps the best mask.
    pub noise: Option<(f64, &'a [f32])>,
    /// Receives ΔS Q of the strip's rows, [lane][row in strip][q].
    pub changes: &'a mut [f32],
}

impl WithSimd for Strip<'_> {
    /// Change of the loss.
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) -> f64 {
        match self.pattern {
            (2, 4) => self.sweep::<S, 2, 4>(simd),
            _ => self.sweep::<S, 0, 0>(simd),
        }
    }
}

/// a · b + c in the fewest instructions of the dispatched CPU.
#[inline(always)]
fn fused<S: Simd>(a: f32, b: f32, c: f32) -> f32 {
    if S::IS_SCALAR { a * b + c } else { a.mul_add(b, c) }
}

impl Strip<'_> {
    /// Sweeps the strip for a pattern known at compile time, or for `self.pattern` where N and M are 0.
    #[inline(always)]
    fn sweep<S: Simd, const N: usize, const M: usize>(&mut self, simd: S) -> f64 {
        let (lanes, p, q) = self.shape;
        let m = if M > 0 { M } else { self.pattern.1 };
        let height = self.rows.1 - self.rows.0;
        let mut change = 0.0;
        for row in self.rows.0..self.rows.1 {
            let mut curvature = [0.0; LANES];
            let mut inverse = [0.0; LANES];
            for lane in 0..lanes {
                let value = self.left_grams[(lane * p + row) * p + row];
                curvature[lane] = value;
                inverse[lane] = if value > f32::MIN_POSITIVE { 1.0 / value } else { 0.0 };
                let change = &mut self.changes[(lane * height + row - self.rows.0) * q..][..q];
                for (change, gradient) in change.iter_mut().zip(&self.gradients[(lane * p + row) * q..]) {
                    *change = -gradient;
                }
            }
            let mut row_change = [0.0; LANES];
            for group in 0..q / m {
                let steps = self.solve_group::<S, N, M>(row, group, &curvature, &inverse, &mut row_change);
                self.move_gradient_row::<S, M>(simd, row, group, &steps);
            }
            change += row_change.iter().map(|&x| f64::from(x)).sum::<f64>();
            self.finish_row(simd, row, &inverse);
        }
        change
    }

    /// Solves one group of one row in every lane, stores it, and returns P_rr δ by column of the group.
    #[inline(always)]
    fn solve_group<S: Simd, const N: usize, const M: usize>(
        &mut self,
        row: usize,
        group: usize,
        curvature: &Lanes,
        inverse: &Lanes,
        change: &mut Lanes,
    ) -> [Lanes; 8] {
        let n = if N > 0 { N } else { self.pattern.0 };
        let m = if M > 0 { M } else { self.pattern.1 };
        let (lanes, p, q) = self.shape;
        let groups = q / m;
        let gram = self.tables.gram(group);

        let mut old = [[0.0; LANES]; 8];
        let mut gradient = [[0.0; LANES]; 8];
        for lane in 0..lanes {
            let index = (lane * p + row) * groups + group;
            for (slot, column) in columns(self.core.masks[index]).enumerate() {
                old[column][lane] = self.core.values[index * n + slot];
            }
            let values = &self.gradients[(lane * p + row) * q + group * m..][..m];
            for (column, &value) in values.iter().enumerate() {
                gradient[column][lane] = value;
            }
        }

        let mut h = [[0.0; LANES]; 8];
        for i in 0..m {
            for lane in 0..LANES {
                let mut sum = 0.0;
                for j in 0..m {
                    sum = fused::<S>(gram[i * m + j], old[j][lane], sum);
                }
                h[i][lane] = fused::<S>(curvature[lane], sum, -gradient[i][lane]);
            }
        }

        let chosen = self.choose_mask::<S, N>(row, group, groups, &h, inverse);

        let inverses = self.tables.inverses(group);
        let mut new = [[0.0; LANES]; 8];
        for lane in 0..lanes {
            let members = self.tables.members(chosen[lane]);
            let table = &inverses[chosen[lane] * n * n..][..n * n];
            for i in 0..n {
                let mut sum = 0.0;
                for j in 0..n {
                    sum = fused::<S>(table[i * n + j], h[members[j]][lane], sum);
                }
                new[members[i]][lane] = sum * inverse[lane];
            }
        }

        let mut step = [[0.0; LANES]; 8];
        for i in 0..m {
            for lane in 0..LANES {
                step[i][lane] = new[i][lane] - old[i][lane];
            }
        }
        let mut gain = [0.0; LANES];
        for i in 0..m {
            for lane in 0..LANES {
                let mut sum = 0.0;
                for j in 0..m {
                    sum = fused::<S>(gram[i * m + j], step[j][lane], sum);
                }
                let slope = fused::<S>(curvature[lane], sum, 2.0 * gradient[i][lane]);
                gain[lane] = fused::<S>(step[i][lane], slope, gain[lane]);
            }
        }

        let greedy = self.noise.is_none();
        for lane in 0..lanes {
            if greedy && !(gain[lane] < 0.0) {
                gain[lane] = 0.0;
                for step in &mut step {
                    step[lane] = 0.0;
                }
                continue;
            }
            let index = (lane * p + row) * groups + group;
            self.core.masks[index] = self.tables.masks()[chosen[lane]];
            for (slot, &column) in self.tables.members(chosen[lane]).iter().enumerate() {
                self.core.values[index * n + slot] = new[column][lane];
            }
        }
        for lane in 0..LANES {
            change[lane] += gain[lane];
        }
        for step in &mut step[..m] {
            for lane in 0..LANES {
                step[lane] *= curvature[lane];
            }
        }
        step
    }

    /// Number of the mask to keep in every lane: of largest gain, or drawn with probability ∝ exp(gain / T).
    #[inline(always)]
    fn choose_mask<S: Simd, const N: usize>(
        &self,
        row: usize,
        group: usize,
        groups: usize,
        h: &[Lanes; 8],
        inverse: &Lanes,
    ) -> [usize; LANES] {
        let n = if N > 0 { N } else { self.pattern.0 };
        let inverses = self.tables.inverses(group);
        let count = self.tables.masks().len();
        let mut gains = [[0.0; LANES]; MOST_MASKS];
        let mut best = [f32::NEG_INFINITY; LANES];
        let mut best_index = [0u32; LANES];
        for (index, gain) in gains[..count].iter_mut().enumerate() {
            let members = self.tables.members(index);
            let table = &inverses[index * n * n..][..n * n];
            for i in 0..n {
                let hi = &h[members[i]];
                for lane in 0..LANES {
                    let mut sum = 0.0;
                    for j in 0..n {
                        sum = fused::<S>(table[i * n + j], h[members[j]][lane], sum);
                    }
                    gain[lane] = fused::<S>(sum, hi[lane], gain[lane]);
                }
            }
            for lane in 0..LANES {
                gain[lane] *= inverse[lane];
                let better = gain[lane] > best[lane];
                best[lane] = if better { gain[lane] } else { best[lane] };
                best_index[lane] = if better { index as u32 } else { best_index[lane] };
            }
        }
        if let Some((temperature, uniforms)) = self.noise {
            let (lanes, p, _) = self.shape;
            let cold = (1.0 / temperature) as f32;
            let mut total = [0.0; LANES];
            for gain in &mut gains[..count] {
                for lane in 0..LANES {
                    total[lane] += exp_of_negative::<S>((gain[lane] - best[lane]) * cold);
                }
                *gain = total;
            }
            let mut threshold = [0.0; LANES];
            for lane in 0..lanes {
                threshold[lane] = uniforms[(lane * p + row) * groups + group] * total[lane];
            }
            best_index = [0; LANES];
            for cumulative in &gains[..count - 1] {
                for lane in 0..LANES {
                    best_index[lane] += u32::from(cumulative[lane] <= threshold[lane]);
                }
            }
        }
        best_index.map(|index| index as usize)
    }

    /// Adds P_rr δᵀ Q_g: to the gradient row of every lane.
    #[inline(always)]
    fn move_gradient_row<S: Simd, const M: usize>(&mut self, simd: S, row: usize, group: usize, steps: &[Lanes; 8]) {
        let m = if M > 0 { M } else { self.pattern.1 };
        let (lanes, p, q) = self.shape;
        let gram = &self.right_gram[group * m * q..(group + 1) * m * q];
        let gradients = &mut self.gradients[..lanes * p * q];
        for (pair, blocks) in gradients.chunks_mut(2 * p * q).enumerate() {
            let lane = 2 * pair;
            let (first, second) = blocks.split_at_mut(p * q);
            let first = &mut first[row * q..(row + 1) * q];
            if second.is_empty() {
                for j in 0..m {
                    add_row(simd, steps[j][lane], &gram[j * q..(j + 1) * q], first);
                }
                continue;
            }
            let second = &mut second[row * q..(row + 1) * q];
            if M > 0 {
                add_rows_to_pair::<S, M>(simd, lane, steps, gram, first, second);
            } else {
                for j in 0..m {
                    add_row(simd, steps[j][lane], &gram[j * q..(j + 1) * q], first);
                    add_row(simd, steps[j][lane + 1], &gram[j * q..(j + 1) * q], second);
                }
            }
        }
    }

    /// Turns the row's gradient change into ΔS Q and carries it to the strip's rows below.
    #[inline(always)]
    fn finish_row<S: Simd>(&mut self, simd: S, row: usize, inverse: &Lanes) {
        let (lanes, p, q) = self.shape;
        let (first, end) = self.rows;
        for (lane, inverse) in inverse.iter().enumerate().take(lanes) {
            let change = &mut self.changes[(lane * (end - first) + row - first) * q..][..q];
            let block = &mut self.gradients[lane * p * q..(lane + 1) * p * q];
            for (change, gradient) in change.iter_mut().zip(&block[row * q..(row + 1) * q]) {
                *change = (*change + gradient) * inverse;
            }
            for below in row + 1..end {
                let coupling = self.left_grams[(lane * p + below) * p + row];
                add_row(simd, coupling, change, &mut block[below * q..(below + 1) * q]);
            }
        }
    }
}

/// to += factor · from.
#[inline(always)]
fn add_row<S: Simd>(simd: S, factor: f32, from: &[f32], to: &mut [f32]) {
    let (from_vectors, from_tail) = S::as_simd_f32s(from);
    let (to_vectors, to_tail) = S::as_mut_simd_f32s(to);
    let factors = simd.splat_f32s(factor);
    for (to, &from) in to_vectors.iter_mut().zip(from_vectors) {
        *to = simd.mul_add_f32s(factors, from, *to);
    }
    for (to, &from) in to_tail.iter_mut().zip(from_tail) {
        *to = fused::<S>(factor, from, *to);
    }
}

/// Adds M rows of `gram`, weighted by the steps of lanes `lane` and `lane + 1`, to one row of each; every row of
/// `gram` is loaded once for both.
#[inline(always)]
fn add_rows_to_pair<S: Simd, const M: usize>(
    simd: S,
    lane: usize,
    steps: &[Lanes; 8],
    gram: &[f32],
    first: &mut [f32],
    second: &mut [f32],
) {
    let q = first.len();
    let (first_vectors, first_tail) = S::as_mut_simd_f32s(first);
    let (second_vectors, second_tail) = S::as_mut_simd_f32s(second);
    let count = first_vectors.len();
    let rows: [&[S::f32s]; M] = std::array::from_fn(|j| &S::as_simd_f32s(&gram[j * q..(j + 1) * q]).0[..count]);
    let first_steps: [S::f32s; M] = std::array::from_fn(|j| simd.splat_f32s(steps[j][lane]));
    let second_steps: [S::f32s; M] = std::array::from_fn(|j| simd.splat_f32s(steps[j][lane + 1]));
    let second_vectors = &mut second_vectors[..count];
    for v in 0..count {
        let (mut x, mut y) = (first_vectors[v], second_vectors[v]);
        for j in 0..M {
            x = simd.mul_add_f32s(first_steps[j], rows[j][v], x);
            y = simd.mul_add_f32s(second_steps[j], rows[j][v], y);
        }
        first_vectors[v] = x;
        second_vectors[v] = y;
    }
    let start = q - first_tail.len();
    for (t, (x, y)) in first_tail.iter_mut().zip(second_tail).enumerate() {
        for j in 0..M {
            *x = fused::<S>(steps[j][lane], gram[j * q + start + t], *x);
            *y = fused::<S>(steps[j][lane + 1], gram[j * q + start + t], *y);
        }
    }
}

/// exp(x) for x ≤ 0 to about 2 units in the last place; 0 below −87.
///
/// 2^i · 2^f with i the nearest integer to x / ln 2 and the Taylor polynomial of e^(f ln 2) on |f| ≤ 1/2. Written
/// without branches or library calls, so it runs in every lane at once.
#[inline(always)]
fn exp_of_negative<S: Simd>(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    let scaled = x * std::f32::consts::LOG2_E;
    let integer = (scaled + ROUND) - ROUND;
    let r = (scaled - integer) * std::f32::consts::LN_2;
    let mut value = 1.0 / 720.0;
    for coefficient in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        value = fused::<S>(value, r, coefficient);
    }
    let exponent = integer.max(-127.0) as i32 + 127;
    value * f32::from_bits((exponent as u32) << 23)
}
