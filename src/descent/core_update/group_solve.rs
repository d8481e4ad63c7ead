//! The exact solution of one group in every lane: the best mask, or one drawn at a temperature, and its values.
//!
//! With the wrappers and the other groups fixed, a group's values s in row r lower the loss by 2 hᵀ s − P_rr sᵀ Q s. On a
//! mask the best values are s = Q_mm⁻¹ h_m / P_rr, and the gain is h_mᵀ Q_mm⁻¹ h_m / P_rr.

use pulp::Simd;

use crate::descent::core_update::group_tables::GroupTables;
use crate::factors::groups::columns;
use crate::factors::pattern::Pattern;
use crate::kernels::lanes::Lanes;

/// One group's least-squares problem in every lane: minimise sᵀ Q s − 2 hᵀ s with h = Q s_old − g.
pub(super) struct LaneProblem<'a, S: Simd> {
    /// Q, M × M.
    pub gram: &'a [f32],
    /// Q_mm⁻¹ of every mask, N × N each.
    pub inverses: &'a [f32],
    /// Half the loss's gradient over P_rr, g, by column of the group.
    pub gradient: [S::f32s; Pattern::MAX_M],
    /// Lanes that may change.
    pub alive: S::m32s,
    /// How a mask is drawn; `None` takes the best one, where it lowers the loss.
    pub draw: Option<Draw<S>>,
}

/// Draws the mask with probability ∝ 2^(gain · inverse_temperature).
pub(super) struct Draw<S: Simd> {
    /// P_rr log₂(e) over the temperature.
    pub inverse_temperature: S::f32s,
    /// Uniform on [0, 1).
    pub uniform: S::f32s,
}

/// A group's mask, one bit a column, and its N kept values in ascending column order.
pub(super) struct GroupLanes<S: Simd> {
    pub mask: S::u32s,
    pub values: [S::f32s; Pattern::MAX_M],
}

/// What a solution changed.
pub(super) struct Moved<S: Simd> {
    /// Change of the values, by column.
    pub step: [S::f32s; Pattern::MAX_M],
    /// Change of the loss over P_rr.
    pub loss: S::f32s,
    /// Size of the terms that it is the sum of.
    pub terms: S::f32s,
}

/// Solves groups of one pattern.
pub(super) trait GroupSolve {
    /// Replaces `group` by the solution and says what changed.
    fn solve<S: Lanes>(&self, simd: S, problem: &LaneProblem<'_, S>, group: &mut GroupLanes<S>) -> Moved<S>;
}

/// 2:4, all in registers.
pub(super) struct TwoOfFour;

/// The masks of 2:4 as bits and as columns, in the order of the tables.
const MASKS: [(u32, usize, usize); 6] =
    [(0b0011, 0, 1), (0b0101, 0, 2), (0b0110, 1, 2), (0b1001, 0, 3), (0b1010, 1, 3), (0b1100, 2, 3)];

impl GroupSolve for TwoOfFour {
    #[inline(always)]
    fn solve<S: Lanes>(&self, simd: S, problem: &LaneProblem<'_, S>, group: &mut GroupLanes<S>) -> Moved<S> {
        let zero = simd.splat_f32s(0.0);
        let gradient: &[S::f32s; 4] = problem.gradient.first_chunk().expect("eight columns at most");
        let gram: &[f32; 16] = problem.gram.first_chunk().expect("Q of a group of four");
        let (inverses, _) = problem.inverses.as_chunks::<4>();
        let old = expand(simd, group.mask, [group.values[0], group.values[1]]);
        let h = subtract(simd, &times(simd, gram, &old), gradient);

        let (values, gains) = solve_masks(simd, inverses, &h);

        let [mut first, mut second] = values[0];
        let mut mask = simd.splat_u32s(MASKS[0].0);
        let mut best = gains[0];
        let (mut cumulative, mut threshold) = ([zero; 6], zero);
        if let Some(Draw { inverse_temperature, uniform }) = &problem.draw {
            cumulative = cumulative_odds(simd, *inverse_temperature, &gains);
            threshold = simd.mul_f32s(*uniform, cumulative[5]);
        }
        for index in 1..6 {
            let takes_over = if problem.draw.is_some() {
                simd.less_than_or_equal_f32s(cumulative[index - 1], threshold)
            } else {
                simd.greater_than_f32s(gains[index], best)
            };
            best = simd.max_f32s(gains[index], best);
            first = simd.select_f32s(takes_over, values[index][0], first);
            second = simd.select_f32s(takes_over, values[index][1], second);
            mask = simd.select_u32s(takes_over, simd.splat_u32s(MASKS[index].0), mask);
        }

        let new = expand(simd, mask, [first, second]);
        let mut step = subtract(simd, &new, &old);
        let (quadratic, linear) = change_terms(simd, gram, gradient, &step);
        let change = simd.add_f32s(quadratic, linear);
        let mut accepted = problem.alive;
        if problem.draw.is_none() {
            accepted = simd.and_m32s(accepted, simd.less_than_f32s(change, zero));
        }
        let mut steps = [zero; Pattern::MAX_M];
        for j in 0..4 {
            step[j] = simd.select_f32s(accepted, step[j], zero);
            steps[j] = step[j];
        }
        group.mask = simd.select_u32s(accepted, mask, group.mask);
        group.values[0] = simd.select_f32s(accepted, first, group.values[0]);
        group.values[1] = simd.select_f32s(accepted, second, group.values[1]);
        let terms = simd.add_f32s(simd.abs_f32s(quadratic), simd.abs_f32s(linear));
        let (loss, terms) = (simd.select_f32s(accepted, change, zero), simd.select_f32s(accepted, terms, zero));
        Moved { step: steps, loss, terms }
    }
}

// No closures below: they would be compiled without the dispatched instruction set.

/// The two values of every mask, Q_mm⁻¹ h_m, and by how much they lower the loss, h_mᵀ Q_mm⁻¹ h_m.
#[inline(always)]
fn solve_masks<S: Lanes>(simd: S, inverses: &[[f32; 4]], h: &[S::f32s; 4]) -> ([[S::f32s; 2]; 6], [S::f32s; 6]) {
    let zero = simd.splat_f32s(0.0);
    let mut values = [[zero; 2]; 6];
    let mut gains = [zero; 6];
    for (index, &(_, a, b)) in MASKS.iter().enumerate() {
        let [aa, ab, ba, bb] = inverses[index];
        let first = simd.fused(simd.splat_f32s(ab), h[b], simd.mul_f32s(simd.splat_f32s(aa), h[a]));
        let second = simd.fused(simd.splat_f32s(bb), h[b], simd.mul_f32s(simd.splat_f32s(ba), h[a]));
        values[index] = [first, second];
        gains[index] = simd.fused(second, h[b], simd.mul_f32s(first, h[a]));
    }
    (values, gains)
}

/// The four entries of a group that keeps two.
#[inline(always)]
fn expand<S: Lanes>(simd: S, mask: S::u32s, [first, second]: [S::f32s; 2]) -> [S::f32s; 4] {
    let zero = simd.splat_f32s(0.0);
    let (kept_0, kept_1) = (keeps(simd, mask, 0), keeps(simd, mask, 1));
    let (kept_2, kept_3) = (keeps(simd, mask, 2), keeps(simd, mask, 3));
    [
        simd.select_f32s(kept_0, first, zero),
        simd.select_f32s(kept_1, simd.select_f32s(kept_0, second, first), zero),
        simd.select_f32s(kept_2, simd.select_f32s(kept_3, first, second), zero),
        simd.select_f32s(kept_3, second, zero),
    ]
}

#[inline(always)]
fn keeps<S: Lanes>(simd: S, mask: S::u32s, column: u32) -> S::m32s {
    simd.greater_than_u32s(simd.and_u32s(mask, simd.splat_u32s(1 << column)), simd.splat_u32s(0))
}

/// Q x.
#[inline(always)]
fn times<S: Lanes>(simd: S, gram: &[f32; 16], x: &[S::f32s; 4]) -> [S::f32s; 4] {
    let mut product = [simd.splat_f32s(0.0); 4];
    for i in 0..4 {
        product[i] = simd.mul_f32s(simd.splat_f32s(gram[4 * i]), x[0]);
        for j in 1..4 {
            product[i] = simd.fused(simd.splat_f32s(gram[4 * i + j]), x[j], product[i]);
        }
    }
    product
}

#[inline(always)]
fn subtract<S: Lanes>(simd: S, a: &[S::f32s; 4], b: &[S::f32s; 4]) -> [S::f32s; 4] {
    let mut difference = *a;
    for j in 0..4 {
        difference[j] = simd.sub_f32s(a[j], b[j]);
    }
    difference
}

/// The terms of a step's change of the loss over P_rr: stepᵀ Q step, and 2 stepᵀ g.
#[inline(always)]
fn change_terms<S: Lanes>(
    simd: S,
    gram: &[f32; 16],
    gradient: &[S::f32s; 4],
    step: &[S::f32s; 4],
) -> (S::f32s, S::f32s) {
    let product = times(simd, gram, step);
    let (mut quadratic, mut linear) = (simd.splat_f32s(0.0), simd.splat_f32s(0.0));
    for j in 0..4 {
        quadratic = simd.fused(step[j], product[j], quadratic);
        linear = simd.fused(step[j], gradient[j], linear);
    }
    (quadratic, simd.add_f32s(linear, linear))
}

/// Running sums of 2^((gain − largest gain) · inverse_temperature).
#[inline(always)]
fn cumulative_odds<S: Lanes>(simd: S, inverse_temperature: S::f32s, gains: &[S::f32s; 6]) -> [S::f32s; 6] {
    let mut best = gains[0];
    for &gain in &gains[1..] {
        best = simd.max_f32s(best, gain);
    }
    let mut sums = *gains;
    let mut total = simd.splat_f32s(0.0);
    for sum in &mut sums {
        let below = simd.mul_f32s(simd.sub_f32s(*sum, best), inverse_temperature);
        total = simd.add_f32s(total, exp2_of_negative(simd, below));
        *sum = total;
    }
    sums
}

/// 2^x for x ≤ 0 to a relative 3 · 10⁻⁶, which no draw can tell from the exact value; about 0 below −126.
///
/// 2^i · 2^f with i the nearest integer and the Taylor polynomial of 2^f on |f| ≤ 1/2.
#[inline(always)]
fn exp2_of_negative<S: Lanes>(simd: S, x: S::f32s) -> S::f32s {
    /// Adding it leaves the nearest integer in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2: f64 = std::f64::consts::LN_2;
    const COEFFICIENTS: [f64; 5] =
        [LN_2 * LN_2 * LN_2 * LN_2 / 24.0, LN_2 * LN_2 * LN_2 / 6.0, LN_2 * LN_2 / 2.0, LN_2, 1.0];
    let x = simd.max_f32s(x, simd.splat_f32s(-126.0));
    let rounded = simd.add_f32s(x, simd.splat_f32s(ROUND));
    let fraction = simd.sub_f32s(x, simd.sub_f32s(rounded, simd.splat_f32s(ROUND)));
    let mut value = simd.splat_f32s((LN_2 * LN_2 * LN_2 * LN_2 * LN_2 / 120.0) as f32);
    for coefficient in COEFFICIENTS {
        value = simd.fused(value, fraction, simd.splat_f32s(coefficient as f32));
    }
    let exponent = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(rounded), simd.splat_u32s(23));
    simd.transmute_f32s_u32s(simd.add_u32s(simd.transmute_u32s_f32s(value), exponent))
}

/// Any pattern N:M with M ≤ 8, lane by lane.
pub(super) struct AnyPattern<'a>(pub &'a GroupTables);

impl GroupSolve for AnyPattern<'_> {
    #[inline(always)]
    fn solve<S: Lanes>(&self, simd: S, problem: &LaneProblem<'_, S>, group: &mut GroupLanes<S>) -> Moved<S> {
        let zero = simd.splat_f32s(0.0);
        let (mut steps, mut changes) = ([zero; Pattern::MAX_M], [zero; 2]);
        let lanes = S::F32_LANES;
        let alive = simd.select_f32s(problem.alive, simd.splat_f32s(1.0), zero);
        let alive: &[f32] = bytemuck::cast_slice(std::slice::from_ref(&alive));
        for lane in 0..lanes {
            if alive[lane] == 0.0 {
                continue;
            }
            let gradient: &[f32] = bytemuck::cast_slice(&problem.gradient);
            let gradient = std::array::from_fn(|j| gradient[j * lanes + lane]);
            let draw = problem.draw.as_ref().map(|draw| {
                let both = [draw.inverse_temperature, draw.uniform];
                let both: &[f32] = bytemuck::cast_slice(&both);
                (both[lane], both[lanes + lane])
            });
            let masks: &mut [u32] = bytemuck::cast_slice_mut(std::slice::from_mut(&mut group.mask));
            let values: &mut [f32] = bytemuck::cast_slice_mut(&mut group.values);
            let mut kept = std::array::from_fn(|slot| values[slot * lanes + lane]);
            let mut mask = masks[lane] as u8;
            let arrays = (problem.gram, problem.inverses, &gradient);
            let (step, [loss, terms]) = solve_lane(self.0, arrays, draw, &mut mask, &mut kept);
            masks[lane] = mask.into();
            for slot in 0..Pattern::MAX_M {
                values[slot * lanes + lane] = kept[slot];
                bytemuck::cast_slice_mut::<_, f32>(&mut steps)[slot * lanes + lane] = step[slot];
            }
            let changes: &mut [f32] = bytemuck::cast_slice_mut(&mut changes);
            (changes[lane], changes[lanes + lane]) = (loss, terms);
        }
        Moved { step: steps, loss: changes[0], terms: changes[1] }
    }
}

/// Solves one group of one block; returns its values' change by column, and the loss's change over P_rr with the size
/// of its terms.
#[inline(always)]
fn solve_lane(
    tables: &GroupTables,
    problem: (&[f32], &[f32], &[f32; 8]),
    draw: Option<(f32, f32)>,
    mask: &mut u8,
    kept: &mut [f32; 8],
) -> ([f32; 8], [f32; 2]) {
    let (gram, inverses, gradient) = problem;
    let (n, m) = (tables.pattern().n(), tables.pattern().m());
    let mut old = [0.0; 8];
    for (slot, column) in columns(*mask).enumerate() {
        old[column] = kept[slot];
    }
    let times = |x: &[f32; 8], i: usize| (0..m).map(|j| gram[i * m + j] * x[j]).sum::<f32>();
    let mut h = [0.0; 8];
    for i in 0..m {
        h[i] = times(&old, i) - gradient[i];
    }
    let solution = |index: usize| {
        let members = tables.members(index);
        let inverse = &inverses[index * n * n..][..n * n];
        let value = |i: usize| (0..n).map(|j| inverse[i * n + j] * h[members[j]]).sum::<f32>();
        let values: [f32; 8] = std::array::from_fn(|i| if i < n { value(i) } else { 0.0 });
        let gain = (0..n).map(|i| values[i] * h[members[i]]).sum::<f32>();
        (values, gain)
    };
    let count = tables.masks().len();
    let mut gains = [0.0; GroupTables::MOST_MASKS];
    let mut chosen = 0;
    for index in 0..count {
        gains[index] = solution(index).1;
        if gains[index] > gains[chosen] {
            chosen = index;
        }
    }
    if let Some((inverse_temperature, uniform)) = draw {
        let best = gains[chosen];
        let mut total = 0.0;
        for gain in &mut gains[..count] {
            total += ((*gain - best) * inverse_temperature).exp2();
            *gain = total;
        }
        chosen = gains[..count - 1].iter().filter(|&&cumulative| cumulative <= uniform * total).count();
    }
    let (values, _) = solution(chosen);
    let mut new = [0.0; 8];
    for (slot, &column) in tables.members(chosen).iter().enumerate() {
        new[column] = values[slot];
    }
    let step: [f32; 8] = std::array::from_fn(|j| new[j] - old[j]);
    let quadratic = (0..m).map(|i| step[i] * times(&step, i)).sum::<f32>();
    let linear = 2.0 * (0..m).map(|i| step[i] * gradient[i]).sum::<f32>();
    if draw.is_none() && !(quadratic + linear < 0.0) {
        return ([0.0; 8], [0.0; 2]);
    }
    *mask = tables.masks()[chosen];
    *kept = values;
    (step, [quadratic + linear, quadratic.abs() + linear.abs()])
}
