//! The caller sees factors of its own weight: nothing of the scaling is left outside them.

mod common;

use armor_core::{Factorization, Hessian, Layer, Options, factorize};
use common::{assert_close, dense, dense_core, hessian, relative_loss, to_f64, weight};
use ndarray::{Array1, Array2};

fn run(w: &Array2<f32>, d: &Array1<f32>, options: &Options) -> Factorization {
    let layer = Layer::new(w, Hessian::from_diagonal(d).expect("valid")).expect("valid");
    factorize(&layer, options).expect("runs")
}

fn presets() -> [Options; 3] {
    [
        Options::exact().block(16).iterations(20),
        Options::exact().left_block(7).right_block(12).iterations(8),
        Options::paper().block(24).iterations(20).learning_rate(1e-3),
    ]
}

const SHAPES: [(usize, usize); 3] = [(48, 64), (33, 20), (5, 72)];

#[test]
fn loss_is_that_of_the_factors_against_the_callers_weight() {
    for (rows, cols) in SHAPES {
        let (w, d) = (weight(rows, cols, 1), hessian(cols, 1));
        let diagonal: Vec<f64> = d.iter().map(|&d| f64::from(d)).collect();
        for options in presets() {
            let result = run(&w, &d, &options);
            let product = dense(result.left()).dot(&dense_core(result.core())).dot(&dense(result.right()));
            let twin = relative_loss(&to_f64(&w), &diagonal, &product);
            assert_close(result.loss(), twin, 1e-9, 0.0, "loss");
            let best = result.history().iter().copied().fold(f64::INFINITY, f64::min);
            assert_close(result.loss(), best, 1e-5, 1e-9, "loss and the best of the history");
        }
    }
}

#[test]
fn reconstruct_and_apply_are_the_dense_product() {
    for (rows, cols) in SHAPES {
        let (w, d) = (weight(rows, cols, 2), hessian(cols, 2));
        for options in presets() {
            let result = run(&w, &d, &options);
            let (left, core, right) = (dense(result.left()), dense_core(result.core()), dense(result.right()));
            let product = left.dot(&core).dot(&right);
            // What the terms of each entry's sum amount to, signs aside: rounding is relative to that.
            let size = left.mapv(f64::abs).dot(&core.mapv(f64::abs)).dot(&right.mapv(f64::abs));
            for ((index, &found), &size) in result.reconstruct().indexed_iter().zip(&size) {
                assert_close(f64::from(found), product[index], 6.0e-8, 1e-13 * size, "reconstruct");
            }
            let x = Array1::from_iter(weight(1, cols, 3));
            let wide = x.mapv(f64::from);
            let (expected, size) = (product.dot(&wide), size.dot(&wide.mapv(f64::abs)));
            let found = result.apply(x.view()).expect("k inputs");
            assert_eq!(found.len(), rows);
            for i in 0..rows {
                assert_close(f64::from(found[i]), expected[i], 6.0e-8, 1e-13 * size[i], "apply");
            }
            let from_rounded = to_f64(&result.reconstruct()).dot(&wide);
            for i in 0..rows {
                assert_close(f64::from(found[i]), from_rounded[i], 0.0, 2e-7 * size[i], "apply and reconstruct");
            }
        }
    }
}

#[test]
fn a_power_of_two_changes_no_bit_of_the_descent() {
    let (w, d) = (weight(48, 64, 4), hessian(64, 4));
    for options in presets() {
        let base = run(&w, &d, &options);
        for power in [66, -66, 1, 40] {
            let factor = 2.0_f32.powi(power);
            let scaled = run(&w.mapv(|x| x * factor), &d, &options);
            assert_eq!(base.history(), scaled.history(), "W times 2^{power}");
            assert_eq!(base.core(), scaled.core(), "W times 2^{power}");
            assert_close(base.loss(), scaled.loss(), 1e-12, 0.0, "loss");
            let same = run(&w, &d.mapv(|x| x * factor), &options);
            assert_eq!(base.history(), same.history(), "H times 2^{power}");
            assert_eq!((base.left(), base.core(), base.right()), (same.left(), same.core(), same.right()));
        }
    }
}

#[test]
fn the_scale_of_weight_and_hessian_does_not_matter() {
    let (w, d) = (weight(48, 64, 5), hessian(64, 5));
    let options = Options::exact().block(16).temperature(0.0).iterations(5);
    let base = run(&w, &d, &options);
    for factor in [1e20, 1e-20, 3.7] {
        let by_weight = run(&w.mapv(|x| x * factor), &d, &options);
        let by_hessian = run(&w, &d.mapv(|x| x * factor), &options);
        for scaled in [&by_weight, &by_hessian] {
            assert_close(base.nowag_p_loss(), scaled.nowag_p_loss(), 1e-6, 0.0, "NoWag-P's loss");
            assert_close(base.loss(), scaled.loss(), 1e-3, 0.0, "loss");
        }
        let product = to_f64(&by_weight.reconstruct()).mapv(|x| x / f64::from(factor));
        let diagonal: Vec<f64> = d.iter().map(|&d| f64::from(d)).collect();
        assert_close(relative_loss(&to_f64(&w), &diagonal, &product), by_weight.loss(), 1e-5, 0.0, "scaled back");
    }
}

#[test]
fn scaled_rows_and_columns_give_the_same_history() {
    let (w, d) = (weight(24, 32, 6), hessian(32, 6));
    let options = Options::exact().block(8).iterations(10);
    let base = run(&w, &d, &options);
    // NoWag's column norms see the rows' sizes, so only columns can be scaled apart; by powers of two, exactly.
    let scaled = Array2::from_shape_fn(w.dim(), |(i, j)| w[[i, j]] * 2.0_f32.powi(j as i32 % 9 - 4));
    assert_eq!(base.history(), run(&scaled, &d, &options).history());
}
