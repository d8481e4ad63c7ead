//! Slow, obvious f64 twins of everything the crate computes, and a spy that shows the descent's state to tests.

#![allow(dead_code, reason = "every test file uses its own part of the twins")]

pub mod coupled;
pub mod pairs;
pub mod pruning;

use std::sync::Mutex;

use armor_core::{BlockDiagonal, BoxError, CoreUpdate, MaskSelector, Pattern, SparseCore, State, Step, WrapperUpdate};
use ndarray::{Array1, Array2, s};

/// A dense matrix of the twins.
pub type Mat = Array2<f64>;

/// A small generator of its own, so the inputs never change with a dependency.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform on [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// About standard normal.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// A weight with rows and columns of different sizes.
pub fn weight(rows: usize, cols: usize, seed: u64) -> Array2<f32> {
    let mut random = Random::new(seed);
    let row_scales: Vec<f64> = (0..rows).map(|_| (0.5 * random.normal()).exp()).collect();
    let col_scales: Vec<f64> = (0..cols).map(|_| (0.5 * random.normal()).exp()).collect();
    Array2::from_shape_fn((rows, cols), |(i, j)| (random.normal() * row_scales[i] * col_scales[j]) as f32)
}

/// A Hessian diagonal with a spread of about e³.
pub fn hessian(cols: usize, seed: u64) -> Array1<f32> {
    let mut random = Random::new(seed ^ 0xabcd);
    Array1::from_shape_fn(cols, |_| random.normal().exp() as f32)
}

pub fn to_f64(matrix: &Array2<f32>) -> Mat {
    matrix.mapv(f64::from)
}

pub fn dense(wrapper: &BlockDiagonal) -> Mat {
    to_f64(&wrapper.to_dense())
}

pub fn dense_core(core: &SparseCore) -> Mat {
    to_f64(&core.to_dense())
}

pub fn squares(matrix: &Mat) -> f64 {
    matrix.iter().map(|x| x * x).sum()
}

/// ‖Y − A S B‖².
pub fn loss(y: &Mat, left: &Mat, core: &Mat, right: &Mat) -> f64 {
    squares(&(y - &left.dot(core).dot(right)))
}

/// The diagonal over its mean; all ones where it is all zero.
pub fn importance(diagonal: &[f64]) -> Vec<f64> {
    let mean = diagonal.iter().sum::<f64>() / diagonal.len() as f64;
    diagonal.iter().map(|&d| if mean > 0.0 { d / mean } else { 1.0 }).collect()
}

/// NoWag's scales and importances of a weight: (r2, r1, d).
pub fn normalization(weight: &Mat, diagonal: &[f64]) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let root_or_one = |x: f64| if x > 0.0 { x.sqrt() } else { 1.0 };
    let cols: Vec<f64> = weight.columns().into_iter().map(|c| root_or_one(c.iter().map(|x| x * x).sum())).collect();
    let rows = weight
        .rows()
        .into_iter()
        .map(|row| root_or_one(row.iter().zip(&cols).map(|(x, r)| (x / r) * (x / r)).sum()))
        .collect();
    (rows, cols, importance(diagonal))
}

/// Y = W̄ diag(√d), with every d_j at least 10⁻¹² of the mean.
pub fn whitened(weight: &Mat, diagonal: &[f64]) -> Mat {
    let (rows, cols, importance) = normalization(weight, diagonal);
    Mat::from_shape_fn(weight.dim(), |(i, j)| weight[[i, j]] / (cols[j] * rows[i]) * importance[j].max(1e-12).sqrt())
}

/// Σ_ij d_j ((W − Ŵ)_ij / (r1_j r2_i))² over its value at Ŵ = 0.
pub fn relative_loss(weight: &Mat, diagonal: &[f64], approximation: &Mat) -> f64 {
    let (rows, cols, importance) = normalization(weight, diagonal);
    let (mut lost, mut energy) = (0.0, 0.0);
    for ((i, j), &w) in weight.indexed_iter() {
        let scale = importance[j] / (rows[i] * cols[j]).powi(2);
        lost += scale * (w - approximation[[i, j]]).powi(2);
        energy += scale * w * w;
    }
    if energy > 0.0 { lost / energy } else { 0.0 }
}

/// NoWag-P's core in the whitened coordinates: the N largest of every M.
pub fn pruned(whitened: &Mat, pattern: Pattern) -> Mat {
    let mut kept = Mat::zeros(whitened.dim());
    for i in 0..whitened.nrows() {
        for start in (0..whitened.ncols()).step_by(pattern.m()) {
            let mut order: Vec<usize> = (start..start + pattern.m()).collect();
            order.sort_by(|&a, &b| whitened[[i, b]].abs().total_cmp(&whitened[[i, a]].abs()));
            for &j in &order[..pattern.n()] {
                kept[[i, j]] = whitened[[i, j]];
            }
        }
    }
    kept
}

/// X with matrix · X = rhs, by Gaussian elimination with partial pivoting.
pub fn solve(matrix: &Mat, rhs: &Mat) -> Mat {
    let n = matrix.nrows();
    let (mut a, mut x) = (matrix.clone(), rhs.clone());
    for column in 0..n {
        let pivot =
            (column..n).max_by(|&i, &j| a[[i, column]].abs().total_cmp(&a[[j, column]].abs())).unwrap_or(column);
        for j in 0..n {
            a.swap([column, j], [pivot, j]);
        }
        for j in 0..x.ncols() {
            x.swap([column, j], [pivot, j]);
        }
        for i in 0..n {
            if i == column || a[[i, column]] == 0.0 {
                continue;
            }
            let factor = a[[i, column]] / a[[column, column]];
            for j in column..n {
                a[[i, j]] -= factor * a[[column, j]];
            }
            for j in 0..x.ncols() {
                x[[i, j]] -= factor * x[[column, j]];
            }
        }
    }
    for i in 0..n {
        for j in 0..x.ncols() {
            x[[i, j]] /= a[[i, i]];
        }
    }
    x
}

/// Start and end of every block of `block` in `len`.
pub fn blocks(len: usize, block: usize) -> Vec<(usize, usize)> {
    (0..len).step_by(block).map(|start| (start, len.min(start + block))).collect()
}

/// The left wrapper of least loss: A_a = (Y_a T_aᵀ)(T_a T_aᵀ)⁻¹ with T = S B.
pub fn best_left(y: &Mat, core: &Mat, right: &Mat, block: usize) -> Mat {
    let t = core.dot(right);
    let mut left = Mat::zeros((y.nrows(), y.nrows()));
    for (start, end) in blocks(y.nrows(), block) {
        let (t, y) = (t.slice(s![start..end, ..]), y.slice(s![start..end, ..]));
        let transposed = solve(&t.dot(&t.t()), &t.dot(&y.t()));
        left.slice_mut(s![start..end, start..end]).assign(&transposed.t());
    }
    left
}

/// The right wrapper of least loss: B_b = (U_bᵀ U_b)⁻¹ U_bᵀ Y_b with U = A S.
pub fn best_right(y: &Mat, left: &Mat, core: &Mat, block: usize) -> Mat {
    let u = left.dot(core);
    let mut right = Mat::zeros((y.ncols(), y.ncols()));
    for (start, end) in blocks(y.ncols(), block) {
        let (u, y) = (u.slice(s![.., start..end]), y.slice(s![.., start..end]));
        right.slice_mut(s![start..end, start..end]).assign(&solve(&u.t().dot(&u), &u.t().dot(&y)));
    }
    right
}

/// Every mask of a pattern, ascending.
pub fn masks(pattern: Pattern) -> Vec<u8> {
    (0..=u8::MAX)
        .filter(|mask| mask.count_ones() as usize == pattern.n() && usize::from(*mask) < 1 << pattern.m())
        .collect()
}

pub fn members(mask: u8) -> Vec<usize> {
    (0..8).filter(|j| mask >> j & 1 == 1).collect()
}

/// Best mask and values (by column) of one group whose loss is curvature · sᵀ Q s − 2 hᵀ s; and the gain.
pub fn best_group(pattern: Pattern, gram: &Mat, h: &[f64], curvature: f64) -> (u8, Vec<f64>, f64) {
    let mut best = (0, Vec::new(), f64::NEG_INFINITY);
    for mask in masks(pattern) {
        let kept = members(mask);
        let q = Mat::from_shape_fn((kept.len(), kept.len()), |(i, j)| gram[[kept[i], kept[j]]] * curvature);
        let rhs = Mat::from_shape_fn((kept.len(), 1), |(i, _)| h[kept[i]]);
        let solution = solve(&q, &rhs);
        let mut values = vec![0.0; pattern.m()];
        for (i, &j) in kept.iter().enumerate() {
            values[j] = solution[[i, 0]];
        }
        let gain = values.iter().zip(h).map(|(s, h)| s * h).sum();
        if gain > best.2 {
            best = (mask, values, gain);
        }
    }
    best
}

/// One greedy Gauss–Seidel sweep over all groups of all blocks; the gradient row is recomputed for every group.
pub fn sweep(snapshot: &Snapshot) -> Mat {
    let Snapshot { y, left, right, pattern, .. } = snapshot;
    let mut core = snapshot.core.clone();
    let m = pattern.m();
    for (top, bottom) in blocks(y.nrows(), snapshot.left_block) {
        let a = left.slice(s![top..bottom, top..bottom]);
        let p = a.t().dot(&a);
        for (first, end) in blocks(y.ncols(), snapshot.right_block) {
            let b = right.slice(s![first..end, first..end]);
            let q = b.dot(&b.t());
            let c = a.t().dot(&y.slice(s![top..bottom, first..end])).dot(&b.t());
            let mut s_ab = core.slice_mut(s![top..bottom, first..end]);
            for row in 0..bottom - top {
                for start in (0..end - first).step_by(m) {
                    let gram = q.slice(s![start..start + m, start..start + m]).to_owned();
                    let gradient = p.row(row).dot(&s_ab).dot(&q) - c.row(row);
                    let old = s_ab.slice(s![row, start..start + m]).to_owned();
                    let h = gram.dot(&old) * p[[row, row]] - gradient.slice(s![start..start + m]);
                    let (_, values, _) = best_group(*pattern, &gram, &h.to_vec(), p[[row, row]]);
                    s_ab.slice_mut(s![row, start..start + m]).assign(&Array1::from(values));
                }
            }
        }
    }
    core
}

/// The descent's state in whitened coordinates, all dense and f64.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub y: Mat,
    pub left: Mat,
    pub core: Mat,
    pub right: Mat,
    /// The core itself, for its masks.
    pub sparse: SparseCore,
    pub pattern: Pattern,
    pub left_block: usize,
    pub right_block: usize,
    /// √d of the importances.
    pub roots: Vec<f64>,
    /// What the state says its absolute loss is.
    pub reported: f64,
}

impl Snapshot {
    pub fn of(state: &mut State<'_>) -> Self {
        let target = state.target();
        Snapshot {
            y: Mat::from_shape_fn((target.rows(), target.cols()), |(i, j)| f64::from(target.whitened(i, j))),
            left: dense(state.left()),
            core: dense_core(state.core()),
            right: dense(state.right()),
            sparse: state.core().clone(),
            pattern: target.pattern(),
            left_block: state.left().block_size(),
            right_block: state.right().block_size(),
            roots: target.roots().to_vec(),
            reported: state.loss(),
        }
    }

    pub fn loss(&self) -> f64 {
        loss(&self.y, &self.left, &self.core, &self.right)
    }

    pub fn energy(&self) -> f64 {
        squares(&self.y)
    }
}

/// States before and after every call of an update.
pub type Log = Mutex<Vec<(Snapshot, Snapshot)>>;

/// Records the state before and after each call of the update inside.
pub struct Spy<'a, U> {
    pub inner: U,
    pub log: &'a Log,
}

impl<'a, U> Spy<'a, U> {
    pub fn new(inner: U, log: &'a Log) -> Self {
        Spy { inner, log }
    }

    fn record(&self, before: Snapshot, after: Snapshot) {
        self.log.lock().expect("no test thread panics with the log in hand").push((before, after));
    }
}

impl<U: MaskSelector> MaskSelector for Spy<'_, U> {
    fn select(&mut self, state: &mut State<'_>) -> Result<(), BoxError> {
        let before = Snapshot::of(state);
        self.inner.select(state)?;
        self.record(before, Snapshot::of(state));
        Ok(())
    }
}

impl<U: CoreUpdate> CoreUpdate for Spy<'_, U> {
    fn update(&mut self, state: &mut State<'_>, step: &Step) -> Result<(), BoxError> {
        let before = Snapshot::of(state);
        self.inner.update(state, step)?;
        self.record(before, Snapshot::of(state));
        Ok(())
    }

    fn is_monotone(&self) -> bool {
        self.inner.is_monotone()
    }

    fn allows_extrapolation(&self) -> bool {
        self.inner.allows_extrapolation()
    }

    fn anneals(&self) -> bool {
        self.inner.anneals()
    }
}

impl<U: WrapperUpdate> WrapperUpdate for Spy<'_, U> {
    fn update(&mut self, state: &mut State<'_>, step: &Step) -> Result<(), BoxError> {
        let before = Snapshot::of(state);
        self.inner.update(state, step)?;
        self.record(before, Snapshot::of(state));
        Ok(())
    }

    fn is_monotone(&self) -> bool {
        self.inner.is_monotone()
    }

    fn allows_extrapolation(&self) -> bool {
        self.inner.allows_extrapolation()
    }
}

/// Leaves the state as it is.
pub struct Nothing;

impl MaskSelector for Nothing {
    fn select(&mut self, _state: &mut State<'_>) -> Result<(), BoxError> {
        Ok(())
    }
}

impl CoreUpdate for Nothing {
    fn update(&mut self, _state: &mut State<'_>, _step: &Step) -> Result<(), BoxError> {
        Ok(())
    }
}

impl WrapperUpdate for Nothing {
    fn update(&mut self, _state: &mut State<'_>, _step: &Step) -> Result<(), BoxError> {
        Ok(())
    }
}

/// Asserts |a − b| ≤ tolerance · max(|a|, |b|) + floor.
#[track_caller]
pub fn assert_close(a: f64, b: f64, tolerance: f64, floor: f64, what: &str) {
    let slack = tolerance * a.abs().max(b.abs()) + floor;
    assert!((a - b).abs() <= slack, "{what}: {a:e} and {b:e} differ by more than {slack:e}");
}
