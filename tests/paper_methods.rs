//! The paper's own steps against dense f64 twins.

mod common;

use armor_core::{
    BoxError, Descent, Hessian, JointAdam, Layer, MaskSelector, Method, Options, Pattern, SampledGroup,
    SequentialGradient, State, factorize,
};
use common::{Log, Mat, Nothing, Snapshot, Spy, assert_close, best_group, blocks, hessian, weight};
use ndarray::s;

/// Keeps the first N of every group, at a fraction of their values, so that no gradient vanishes.
struct Shrunk;

impl MaskSelector for Shrunk {
    fn select(&mut self, state: &mut State<'_>) -> Result<(), BoxError> {
        let target = state.target();
        let (n, m) = (target.pattern().n(), target.pattern().m());
        for row in 0..target.rows() {
            for group in 0..target.cols() / m {
                let values: Vec<f32> = (0..n).map(|j| 0.6 * target.normalized(row, group * m + j)).collect();
                state.core_mut().set_group(row, group, (1 << n) - 1, &values)?;
            }
        }
        Ok(())
    }
}

/// Gradients of the relative loss in A, the kept entries of W', and B = B̃ diag(1/√d).
fn gradients(snapshot: &Snapshot) -> [Mat; 3] {
    let Snapshot { y, left, core, right, .. } = snapshot;
    let scale = 2.0 / snapshot.energy();
    let residual = left.dot(core).dot(right) - y;
    let of_left = residual.dot(&core.dot(right).t()) * scale;
    let of_right = left.dot(core).t().dot(&residual) * scale;
    let of_core = left.t().dot(&residual).dot(&right.t()) * scale;
    let left_block = |i: usize| i / snapshot.left_block;
    let right_block = |i: usize| i / snapshot.right_block;
    let m = snapshot.pattern.m();
    let inside = |same: bool, value: f64| if same { value } else { 0.0 };
    [
        Mat::from_shape_fn(of_left.dim(), |(i, j)| inside(left_block(i) == left_block(j), of_left[[i, j]])),
        Mat::from_shape_fn(of_core.dim(), |(i, j)| {
            inside(snapshot.sparse.group(i, j / m).0 >> (j % m) & 1 == 1, of_core[[i, j]])
        }),
        Mat::from_shape_fn(of_right.dim(), |(i, j)| {
            inside(right_block(i) == right_block(j), of_right[[i, j]] * snapshot.roots[j])
        }),
    ]
}

#[test]
fn joint_adam_is_adam_on_the_relative_loss() {
    let (rows, cols, rate) = (22, 40, 1e-3);
    let w = weight(rows, cols, 1);
    let layer = Layer::new(&w, Hessian::from_diagonal(&hessian(cols, 1)).expect("valid")).expect("valid");
    let options = Options::paper().left_block(8).right_block(16).iterations(4);
    let log = Log::default();
    Descent::new(&options)
        .expect("valid")
        .initial_mask(Shrunk)
        .wrapper_update(Spy::new(JointAdam::new(rate), &log))
        .core_update(Nothing)
        .run(&layer)
        .expect("runs");
    let log = log.into_inner().expect("not poisoned");
    assert_eq!(log.len(), 4);
    let mut first = [Mat::zeros((rows, rows)), Mat::zeros((rows, cols)), Mat::zeros((cols, cols))];
    let mut second = first.clone();
    for (step, (before, after)) in log.iter().enumerate() {
        let t = step as i32 + 1;
        let found = [
            &after.left - &before.left,
            &after.core - &before.core,
            Mat::from_shape_fn((cols, cols), |(i, j)| (after.right[[i, j]] - before.right[[i, j]]) / before.roots[j]),
        ];
        for (part, gradient) in gradients(before).iter().enumerate() {
            let largest = gradient.iter().fold(0.0, |most: f64, g| most.max(g.abs()));
            let (mut checked, mut moving) = (0, 0);
            for ((i, j), &g) in gradient.indexed_iter() {
                let (first, second) = (&mut first[part][[i, j]], &mut second[part][[i, j]]);
                *first = 0.9 * *first + 0.1 * g;
                *second = 0.999 * *second + 0.001 * g * g;
                let corrected = *first / (1.0 - 0.9_f64.powi(t));
                let root = (*second / (1.0 - 0.999_f64.powi(t))).sqrt();
                let expected = -rate * corrected / (root + 1e-8);
                if g == 0.0 {
                    assert_eq!(found[part][[i, j]], 0.0, "step {t}, part {part}: [{i}, {j}] has no gradient");
                    continue;
                }
                moving += 1;
                // f32 holds a gradient near zero too badly to say what Adam makes of it.
                if root > 1e-3 * largest {
                    checked += 1;
                    let moved = found[part][[i, j]];
                    assert_close(moved, expected, 0.0, 5e-3 * rate, &format!("step {t}, part {part}: [{i}, {j}]"));
                }
                if t == 1 && g.abs() > 1e-3 * largest {
                    let sign = -rate * g.signum();
                    assert_close(found[part][[i, j]], sign, 1e-2, 0.0, "the first step is lr · sign(gradient)");
                }
            }
            assert!(checked * 10 > moving * 9 && moving > 100, "step {t}, part {part}: {checked} of {moving} checked");
        }
    }
}

#[test]
fn a_sampled_group_is_solved_exactly_and_no_other_moves() {
    for (n, m) in [(2, 4), (1, 4), (4, 8)] {
        let pattern = Pattern::new(n, m).expect("valid");
        let (rows, cols, left, right) = (22, 40, 8, 16);
        let w = weight(rows, cols, 2);
        let layer = Layer::new(&w, Hessian::from_diagonal(&hessian(cols, 2)).expect("valid")).expect("valid");
        let options = Options::paper().left_block(left).right_block(right).pattern(pattern).iterations(30);
        let log = Log::default();
        Descent::new(&options)
            .expect("valid")
            .initial_mask(Shrunk)
            .wrapper_update(Nothing)
            .core_update(Spy::new(SampledGroup, &log))
            .run(&layer)
            .expect("runs");
        let log = log.into_inner().expect("not poisoned");
        let mut moved = 0;
        for (before, after) in &log {
            assert!(after.loss() <= before.loss() * (1.0 + 1e-12));
            assert_close(after.reported, after.loss(), 1e-5, 0.0, "reported loss");
            for (top, bottom) in blocks(rows, left) {
                for (first, end) in blocks(cols, right) {
                    let changed: Vec<(usize, usize)> = (top..bottom)
                        .flat_map(|i| (first..end).step_by(m).map(move |j| (i, j)))
                        .filter(|&(i, j)| (j..j + m).any(|j| before.core[[i, j]] != after.core[[i, j]]))
                        .collect();
                    assert!(changed.len() <= 1, "one group a block");
                    moved += changed.len();
                    for (i, j) in changed {
                        let mut others = before.core.clone();
                        others.slice_mut(s![i, j..j + m]).fill(0.0);
                        let residual = &before.y - &before.left.dot(&others).dot(&before.right);
                        let h = before.left.column(i).dot(&residual).dot(&before.right.t());
                        let q = before.right.dot(&before.right.t());
                        let gram = q.slice(s![j..j + m, j..j + m]).to_owned();
                        let curvature = before.left.column(i).dot(&before.left.column(i));
                        let h: Vec<f64> = h.iter().skip(j).take(m).copied().collect();
                        let (mask, values, _) = best_group(pattern, &gram, &h, curvature);
                        assert_eq!(after.sparse.group(i, j / m).0, mask);
                        for (offset, value) in values.iter().enumerate() {
                            assert_close(after.core[[i, j + offset]], *value, 1e-4, 1e-6, "value of the group");
                        }
                    }
                }
            }
        }
        assert!(moved > 30, "{moved} groups moved");
        assert!(log[29].1.loss() < 0.95 * log[0].0.loss());
    }
}

#[test]
fn every_part_of_the_sequential_gradient_step_lowers_the_loss() {
    let w = weight(22, 40, 3);
    let layer = Layer::new(&w, Hessian::from_diagonal(&hessian(40, 3)).expect("valid")).expect("valid");
    let options = Options::paper().method(Method::Gradient).left_block(8).right_block(16).iterations(10);
    let log = Log::default();
    Descent::new(&options)
        .expect("valid")
        .initial_mask(Shrunk)
        .wrapper_update(Spy::new(SequentialGradient::default(), &log))
        .run(&layer)
        .expect("runs");
    for (before, after) in log.into_inner().expect("not poisoned") {
        let mut between = before.clone();
        let mut last = before.loss();
        for part in 0..3 {
            match part {
                0 => between.left.clone_from(&after.left),
                1 => between.right.clone_from(&after.right),
                _ => between.core.clone_from(&after.core),
            }
            assert!(between.loss() < last, "part {part}: {:e} after {last:e}", between.loss());
            last = between.loss();
        }
        for row in 0..22 {
            for group in 0..10 {
                assert_eq!(before.sparse.group(row, group).0, after.sparse.group(row, group).0, "masks stay");
            }
        }
    }
}

#[test]
fn both_of_the_papers_methods_get_well_below_nowag_p() {
    let w = weight(48, 64, 4);
    let layer = Layer::new(&w, Hessian::from_diagonal(&hessian(64, 4)).expect("valid")).expect("valid");
    for method in [Method::Paper, Method::Gradient] {
        let options = Options::paper().method(method).block(16).iterations(400).learning_rate(1e-3);
        let result = factorize(&layer, &options).expect("runs");
        assert!(result.loss() < 0.9 * result.nowag_p_loss(), "{} of {}", result.loss(), result.nowag_p_loss());
    }
}
