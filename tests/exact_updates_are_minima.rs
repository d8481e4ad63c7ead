//! Exact updates end in minima: no perturbation, no other mask and no f64 solution of the same problem is better.

mod common;

use armor_core::{Descent, ExactSweep, Hessian, Layer, LeastSquares, Options, Pattern};
use common::{Log, Snapshot, Spy, best_group, best_left, best_right, hessian, loss, weight};
use ndarray::s;

fn wrapper_updates(rows: usize, cols: usize, block: usize, seed: u64) -> Vec<(Snapshot, Snapshot)> {
    let w = weight(rows, cols, seed);
    let layer = Layer::new(&w, Hessian::from_diagonal(&hessian(cols, seed)).expect("valid")).expect("valid");
    let options = Options::exact().block(block).temperature(0.0).max_extrapolation(0.0).iterations(3);
    let log = Log::default();
    Descent::new(&options)
        .expect("valid")
        .wrapper_update(Spy::new(LeastSquares::default(), &log))
        .run(&layer)
        .expect("runs");
    log.into_inner().expect("not poisoned")
}

const SHAPES: [(usize, usize, usize); 4] = [(32, 64, 8), (50, 60, 16), (72, 120, 24), (17 * 8, 32, 8)];

#[test]
fn the_left_update_is_the_least_squares_solution_for_the_old_right() {
    for (rows, cols, block) in SHAPES {
        for (before, after) in wrapper_updates(rows, cols, block, 1) {
            let start = before.loss();
            let best =
                loss(&before.y, &best_left(&before.y, &before.core, &before.right, block), &before.core, &before.right);
            let reached = loss(&before.y, &after.left, &before.core, &before.right);
            assert!(best < 0.9999 * start, "the twin's solution must be better than the start");
            assert!(reached <= best * (1.0 + 1e-6), "{rows}x{cols}: reached {reached:e}, best {best:e}");
            assert!(reached - best <= 1e-3 * (start - best), "{rows}x{cols}: {start:e} -> {reached:e}, best {best:e}");
        }
    }
}

#[test]
fn the_right_update_is_the_least_squares_solution_for_the_new_left() {
    for (rows, cols, block) in SHAPES {
        for (before, after) in wrapper_updates(rows, cols, block, 2) {
            let start = loss(&before.y, &after.left, &before.core, &before.right);
            let best =
                loss(&before.y, &after.left, &before.core, &best_right(&before.y, &after.left, &before.core, block));
            assert!(best < 0.9999 * start, "the twin's solution must be better than the start");
            assert!(after.loss() <= best * (1.0 + 1e-6), "{rows}x{cols}: {:e}, best {best:e}", after.loss());
            assert!(after.loss() - best <= 1e-3 * (start - best), "{start:e} -> {:e}, best {best:e}", after.loss());
            assert_eq!(before.core, after.core, "the wrapper update leaves the core");
        }
    }
}

#[test]
fn no_entry_of_either_wrapper_can_move_and_lower_the_loss() {
    for (before, after) in wrapper_updates(32, 48, 8, 3) {
        let slack = 1e-10 * after.energy();
        let step = |value: f64| 1e-3 * value.abs().max(0.1);
        let right = after.loss();
        for start in (0..48).step_by(8) {
            for i in start..start + 8 {
                for j in start..start + 8 {
                    for sign in [1.0, -1.0] {
                        let mut moved = after.right.clone();
                        moved[[i, j]] += sign * step(moved[[i, j]]);
                        let found = loss(&after.y, &after.left, &after.core, &moved);
                        assert!(found >= right - slack, "B[{i}, {j}]: {found:e} below {right:e}");
                    }
                }
            }
        }
        let left = loss(&after.y, &after.left, &after.core, &before.right);
        for start in (0..32).step_by(8) {
            for i in start..start + 8 {
                for j in start..start + 8 {
                    for sign in [1.0, -1.0] {
                        let mut moved = after.left.clone();
                        moved[[i, j]] += sign * step(moved[[i, j]]);
                        let found = loss(&after.y, &moved, &after.core, &before.right);
                        assert!(found >= left - slack, "A[{i}, {j}]: {found:e} below {left:e}");
                    }
                }
            }
        }
    }
}

#[test]
fn the_group_that_a_sweep_visits_last_is_optimal_over_all_masks() {
    for (n, m) in [(2, 4), (1, 4), (4, 8), (1, 2)] {
        let pattern = Pattern::new(n, m).expect("valid");
        let w = weight(40, 48, 5);
        let layer = Layer::new(&w, Hessian::from_diagonal(&hessian(48, 5)).expect("valid")).expect("valid");
        let options = Options::exact().block(16).pattern(pattern).temperature(0.0).max_extrapolation(0.0).iterations(3);
        let log = Log::default();
        Descent::new(&options)
            .expect("valid")
            .core_update(Spy::new(ExactSweep::default(), &log))
            .run(&layer)
            .expect("runs");
        for (_, after) in log.into_inner().expect("not poisoned") {
            let total = after.loss();
            for (top, bottom) in common::blocks(40, 16) {
                for (first, end) in common::blocks(48, 16) {
                    let a = after.left.slice(s![top..bottom, top..bottom]);
                    let b = after.right.slice(s![first..end, first..end]);
                    let mut others = after.core.slice(s![top..bottom, first..end]).to_owned();
                    let row = bottom - top - 1;
                    let start = end - first - m;
                    others.slice_mut(s![row, start..]).fill(0.0);
                    let residual = &after.y.slice(s![top..bottom, first..end]) - &a.dot(&others).dot(&b);
                    let h = a.column(row).dot(&residual).dot(&b.t());
                    let q = b.dot(&b.t());
                    let gram = q.slice(s![start.., start..]).to_owned();
                    let curvature = a.column(row).dot(&a.column(row));
                    let h: Vec<f64> = h.iter().skip(start).copied().collect();
                    let (mask, values, _) = best_group(pattern, &gram, &h, curvature);
                    let mut best = after.core.clone();
                    for (j, value) in values.iter().enumerate() {
                        best[[bottom - 1, end - m + j]] = *value;
                    }
                    let optimum = loss(&after.y, &after.left, &best, &after.right);
                    assert!(total - optimum <= 1e-6 * total, "{n}:{m}, mask {mask:b}: {total:e} above {optimum:e}");
                }
            }
        }
    }
}
