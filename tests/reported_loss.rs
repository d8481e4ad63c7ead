//! The loss that a state reports is its own, whatever was changed in whatever order.

mod common;

use armor_core::{
    AnnealedSweep, BoxError, Descent, ExactSweep, Hessian, Layer, LeastSquares, Options, Pattern, State, Step,
    WrapperUpdate, factorize,
};
use common::{Log, Spy, assert_close, hessian, weight};

/// Least squares, after which one entry of one factor is changed.
struct ThenChange(LeastSquares, fn(&mut State<'_>));

impl WrapperUpdate for ThenChange {
    fn update(&mut self, state: &mut State<'_>, step: &Step) -> Result<(), BoxError> {
        self.0.update(state, step)?;
        (self.1)(state);
        Ok(())
    }
}

fn change_left(state: &mut State<'_>) {
    state.left_mut().block_mut(0)[[1, 2]] += 0.5;
}

fn change_core(state: &mut State<'_>) {
    let (mask, values) = state.core().group(3, 2);
    let values: Vec<f32> = values.iter().map(|x| 1.5 * x + 0.01).collect();
    state.core_mut().set_group(3, 2, mask, &values).expect("as many values as before");
}

fn change_right(state: &mut State<'_>) {
    state.right_mut().block_mut(1)[[0, 3]] -= 0.25;
}

#[test]
fn a_sweep_sees_what_was_changed_after_the_least_squares() {
    let w = weight(40, 48, 1);
    let layer = Layer::new(&w, Hessian::from_diagonal(&hessian(48, 1)).expect("valid")).expect("valid");
    for temperature in [0.0, 1.5] {
        let options = Options::exact().block(8).temperature(temperature).max_extrapolation(0.0).iterations(6);
        for change in [change_left, change_core, change_right] {
            let log = Log::default();
            Descent::new(&options)
                .expect("valid")
                .wrapper_update(ThenChange(LeastSquares::default(), change))
                .core_update(Spy::new(AnnealedSweep::default(), &log))
                .run(&layer)
                .expect("runs");
            for (before, after) in log.into_inner().expect("not poisoned") {
                assert_close(before.reported, before.loss(), 1e-5, 0.0, "before the sweep");
                assert_close(after.reported, after.loss(), 1e-5, 0.0, "after the sweep");
            }
        }
    }
}

#[test]
fn a_sweep_serves_one_run_after_another() {
    let w = weight(20, 48, 3);
    let layer = Layer::new(&w, Hessian::identity(48)).expect("valid");
    let mut sweep = ExactSweep::default();
    for (n, m) in [(2, 4), (1, 4), (3, 4), (4, 8), (2, 4)] {
        for right in [24, 16] {
            let pattern = Pattern::new(n, m).expect("valid");
            let options =
                Options::exact().left_block(8).right_block(right).pattern(pattern).iterations(5).temperature(0.0);
            let alone = factorize(&layer, &options).expect("runs");
            let shared = Descent::new(&options).expect("valid").core_update(&mut sweep).run(&layer).expect("runs");
            assert_eq!(alone.history(), shared.history(), "{n}:{m}, blocks of {right}");
            assert_eq!(alone.core(), shared.core(), "{n}:{m}, blocks of {right}");
        }
    }
}

/// Least squares that writes a NaN in one iteration.
struct OnceNaN(LeastSquares);

impl WrapperUpdate for OnceNaN {
    fn update(&mut self, state: &mut State<'_>, step: &Step) -> Result<(), BoxError> {
        self.0.update(state, step)?;
        if step.iteration == 5 {
            state.left_mut().block_mut(0)[[0, 0]] = f32::NAN;
        }
        Ok(())
    }

    fn is_monotone(&self) -> bool {
        self.0.is_monotone()
    }

    fn allows_extrapolation(&self) -> bool {
        self.0.allows_extrapolation()
    }
}

#[test]
fn a_part_that_writes_nan_spoils_no_more_than_its_iteration() {
    let w = weight(40, 48, 4);
    let layer = Layer::new(&w, Hessian::identity(48)).expect("valid");
    for temperature in [0.0, 1.5] {
        let options = Options::exact().block(8).temperature(temperature).iterations(20);
        let descent = Descent::new(&options).expect("valid").wrapper_update(OnceNaN(LeastSquares::default()));
        let result = descent.run(&layer).expect("runs");
        assert!(result.history().iter().all(|loss| loss.is_finite()), "{:?}", result.history());
        assert!(result.loss() < 0.9 * result.history()[4], "the run goes on after it");
    }
}
