//! Once nothing is drawn at random, the loss only falls.

mod common;

use armor_core::{Descent, Hessian, Layer, Method, Options, Pattern, Phase, factorize};
use common::{hessian, weight};
use std::ops::ControlFlow;

#[track_caller]
fn assert_falls(history: &[f64], what: &str) {
    for (iteration, pair) in history.windows(2).enumerate() {
        // The floor is what f32 leaves of a perfect fit.
        assert!(
            pair[1] <= pair[0] * (1.0 + 1e-9) + 1e-13,
            "{what}: {:e} after {:e}, iteration {}",
            pair[1],
            pair[0],
            iteration + 1
        );
    }
    assert!(history[history.len() - 1] < history[0], "{what}: something must be gained");
}

const SHAPES: [(usize, usize, usize); 4] = [(48, 64, 16), (37, 60, 16), (136, 24, 8), (20, 40, 64)];

#[test]
fn greedy_exact_with_and_without_extrapolation() {
    for (rows, cols, block) in SHAPES {
        let w = weight(rows, cols, 1);
        let layer = Layer::new(&w, Hessian::from_diagonal(&hessian(cols, 1)).expect("valid")).expect("valid");
        for beta in [0.0, 0.5, 0.95, 0.999] {
            let options = Options::exact().block(block).temperature(0.0).max_extrapolation(beta).iterations(60);
            let result = factorize(&layer, &options).expect("runs");
            assert_falls(result.history(), &format!("{rows}x{cols}, beta {beta}"));
        }
    }
}

#[test]
fn greedy_exact_with_other_patterns() {
    let w = weight(40, 48, 2);
    let layer = Layer::new(&w, Hessian::identity(48)).expect("valid");
    for (n, m) in [(1, 4), (3, 4), (4, 8), (1, 2), (2, 3)] {
        let pattern = Pattern::new(n, m).expect("valid");
        let options = Options::exact().left_block(10).right_block(24).pattern(pattern).temperature(0.0).iterations(40);
        assert_falls(factorize(&layer, &options).expect("runs").history(), &format!("{n}:{m}"));
    }
}

#[test]
fn the_tail_of_an_annealed_run() {
    for (rows, cols, block) in SHAPES {
        let w = weight(rows, cols, 3);
        let layer = Layer::new(&w, Hessian::from_diagonal(&hessian(cols, 3)).expect("valid")).expect("valid");
        let mut descending = 0;
        let result = Descent::new(&Options::exact().block(block).temperature(3.0).iterations(60))
            .expect("valid")
            .observer(|progress| {
                descending += usize::from(progress.phase == Phase::Descending);
                ControlFlow::Continue(())
            })
            .run(&layer)
            .expect("runs");
        assert_eq!(descending, 7, "the last tenth and the step at which the temperature reaches zero");
        assert_falls(&result.history()[60 - 7..], "tail");
    }
}

#[test]
fn sequential_gradient_and_sampled_groups() {
    for (rows, cols, block) in SHAPES {
        let w = weight(rows, cols, 4);
        let layer = Layer::new(&w, Hessian::from_diagonal(&hessian(cols, 4)).expect("valid")).expect("valid");
        let options = Options::paper().method(Method::Gradient).block(block).iterations(150);
        assert_falls(factorize(&layer, &options).expect("runs").history(), &format!("{rows}x{cols}"));
    }
}
