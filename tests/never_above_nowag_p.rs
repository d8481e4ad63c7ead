//! The result is never worse than pruning alone, however the run was set up and whenever it ended.

mod common;

use armor_core::{
    Descent, Factorization, Hessian, Layer, Magnitude, Method, Options, OutputError, Pattern, Phase, StopReason,
};
use common::{assert_close, hessian, pruned, relative_loss, to_f64, weight, whitened};
use proptest::prelude::*;
use std::ops::ControlFlow;
use std::time::Duration;

fn patterns() -> impl Strategy<Value = Pattern> {
    (2usize..=8).prop_flat_map(|m| (1..m, Just(m))).prop_map(|(n, m)| Pattern::new(n, m).expect("0 < N < M <= 8"))
}

fn check(result: &Factorization) {
    assert!(result.loss() <= result.nowag_p_loss(), "{} above {}", result.loss(), result.nowag_p_loss());
    assert!(result.loss().is_finite() && result.loss() >= 0.0);
    assert!(result.nowag_p_loss() <= 1.0);
    assert_eq!(result.history().len(), result.iterations() + 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_shape_seed_method_and_pattern(
        rows in 1usize..70,
        groups in 1usize..12,
        left in 1usize..40,
        right in 1usize..6,
        pattern in patterns(),
        method in prop_oneof![Just(Method::Exact), Just(Method::Paper), Just(Method::Gradient)],
        temperature in prop_oneof![Just(0.0), Just(2.0), Just(100.0)],
        plain in any::<bool>(),
        magnitude in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let cols = groups * pattern.m();
        let w = weight(rows, cols, seed);
        let layer = Layer::new(&w, Hessian::from_diagonal(&hessian(cols, seed)).expect("valid")).expect("valid");
        let options = Options::exact()
            .method(method)
            .left_block(left)
            .right_block(right * pattern.m())
            .pattern(pattern)
            .temperature(temperature)
            .learning_rate(1e-2)
            .iterations(8)
            .seed(seed);
        let mut descent = Descent::new(&options).expect("valid");
        if plain {
            descent = descent.proxy_loss(OutputError);
        }
        if magnitude {
            descent = descent.initial_mask(Magnitude);
        }
        check(&descent.run(&layer).expect("runs"));
    }

    #[test]
    fn cancelled_at_any_time(
        rows in 1usize..50,
        groups in 1usize..10,
        last in prop_oneof![Just(1usize), Just(2), Just(5)],
        exact in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let w = weight(rows, 4 * groups, seed);
        let layer = Layer::new(&w, Hessian::from_diagonal(&hessian(4 * groups, seed)).expect("valid")).expect("valid");
        let preset = if exact { Options::exact().temperature(50.0) } else { Options::paper().learning_rate(0.5) };
        let mut seen = Vec::new();
        let result = Descent::new(&preset.block(8).iterations(10).seed(seed))
            .expect("valid")
            .observer(|progress| {
                seen.push(*progress);
                if progress.iteration == last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
            .run(&layer)
            .expect("runs");
        check(&result);
        prop_assert_eq!(result.stop_reason(), StopReason::Cancelled);
        prop_assert_eq!(result.iterations(), last);
        for (index, progress) in seen.iter().enumerate() {
            prop_assert_eq!(progress.iteration, index + 1);
            prop_assert_eq!(progress.iterations, 10);
            prop_assert_eq!(progress.loss, result.history()[index + 1]);
            let best = result.history()[..index + 2].iter().copied().fold(f64::INFINITY, f64::min);
            prop_assert_eq!(progress.best_loss, best);
            if !exact {
                prop_assert_eq!(progress.phase, Phase::Descending);
            } else if progress.loss > 1e-9 {
                prop_assert_eq!(progress.phase, Phase::Annealing);
            }
        }
    }
}

#[test]
fn nowag_p_is_what_the_twin_prunes() {
    for (n, m) in [(2, 4), (1, 4), (4, 8), (1, 2)] {
        let pattern = Pattern::new(n, m).expect("valid");
        let (w, d) = (weight(30, 48, 1), hessian(48, 1));
        let diagonal: Vec<f64> = d.iter().map(|&d| f64::from(d)).collect();
        let layer = Layer::new(&w, Hessian::from_diagonal(&d).expect("valid")).expect("valid");
        let options = Options::exact().left_block(7).right_block(16).pattern(pattern).iterations(2);
        let result = Descent::new(&options).expect("valid").run(&layer).expect("runs");
        let y = whitened(&to_f64(&w), &diagonal);
        let kept = pruned(&y, pattern);
        let approximation =
            ndarray::Zip::from(&to_f64(&w)).and(&kept).map_collect(|w, s| if *s != 0.0 { *w } else { 0.0 });
        let expected = relative_loss(&to_f64(&w), &diagonal, &approximation);
        assert_close(result.nowag_p_loss(), expected, 1e-6, 0.0, "NoWag-P's loss");
        assert_close(result.history()[0], expected, 1e-6, 0.0, "loss of the initial mask");
    }
}

#[test]
fn the_phases_and_reasons_of_runs_that_end_by_themselves() {
    let w = weight(24, 32, 2);
    let layer = Layer::new(&w, Hessian::identity(32)).expect("valid");
    let mut phases = Vec::new();
    let result = Descent::new(&Options::exact().block(8).iterations(20))
        .expect("valid")
        .observer(|progress| {
            phases.push(progress.phase);
            ControlFlow::Continue(())
        })
        .run(&layer)
        .expect("runs");
    assert_eq!(result.stop_reason(), StopReason::Iterations);
    let annealing = phases.iter().take_while(|&&phase| phase == Phase::Annealing).count();
    assert!((1..20).contains(&annealing), "{annealing} of 20 iterations anneal");
    assert!(phases[annealing..].iter().all(|&phase| phase == Phase::Descending));

    let options = Options::exact().block(8).temperature(0.0).tolerance(0.5).patience(3).iterations(50);
    let result = Descent::new(&options).expect("valid").run(&layer).expect("runs");
    assert_eq!((result.stop_reason(), result.iterations() < 50), (StopReason::Converged, true));
    check(&result);

    let options = Options::exact().block(8).time_budget(Some(Duration::from_nanos(1)));
    let result = Descent::new(&options).expect("valid").run(&layer).expect("runs");
    assert_eq!((result.stop_reason(), result.iterations()), (StopReason::TimeBudget, 1));
    check(&result);
}
