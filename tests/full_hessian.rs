//! The full objective: its steps against dense f64 twins, its loss, its limits, and what it refuses.

mod common;

use armor_core::{
    BoxError, Descent, Error, ExactSweep, Factorization, FullOutputError, Hessian, HessianKind, JointAdam, Layer,
    LeastSquares, Magnitude, Method, Normalization, Objective, Options, ProxyLoss, RowWeighting, SampledGroup,
    SequentialGradient, factorize,
};
use common::coupled::{
    best_left, checked, correlation, coupled_loss, full_hessian, quadratic_form, sweep, swept_right,
};
use common::{Log, Mat, Nothing, Snapshot, Spy, assert_close, to_f64, weight};
use ndarray::Array2;

/// Rows, columns, left and right blocks: below a span of columns, ragged, and more than one span.
const SHAPES: [(usize, usize, usize, usize); 4] =
    [(32, 64, 8, 8), (50, 60, 16, 16), (21, 72, 7, 36), (24, 560, 12, 40)];

fn options(left: usize, right: usize) -> Options {
    Options::exact().left_block(left).right_block(right).objective(Objective::Full)
}

fn greedy(options: Options) -> Options {
    options.temperature(0.0).max_extrapolation(0.0)
}

/// Runs two plain iterations and returns what a spy saw of the wrapper updates, then of the sweeps.
fn spied(w: &Array2<f32>, h: &Array2<f32>, options: &Options) -> [Vec<(Snapshot, Snapshot)>; 2] {
    let layer = Layer::new(w, checked(h)).expect("valid");
    let (wrappers, sweeps) = (Log::default(), Log::default());
    Descent::new(&greedy(options.clone()).iterations(2))
        .expect("valid")
        .wrapper_update(Spy::new(LeastSquares::default(), &wrappers))
        .core_update(Spy::new(ExactSweep::default(), &sweeps))
        .run(&layer)
        .expect("runs");
    [wrappers, sweeps].map(|log| log.into_inner().expect("not poisoned"))
}

#[test]
fn wrapper_updates_are_those_of_the_twin() {
    for (rows, cols, left, right) in SHAPES {
        let (w, h) = (weight(rows, cols, 1), full_hessian(cols, 2 * cols, 1));
        for alpha in [0.1, 0.5] {
            let omega = correlation(&h, alpha);
            let [log, _] = spied(&w, &h, &options(left, right).shrinkage(alpha));
            for (before, after) in log {
                let what = format!("{rows}x{cols}, α {alpha}");
                let of = |left: &Mat, right: &Mat| coupled_loss(&before.y, &omega, left, &before.core, right);
                let start = of(&before.left, &before.right);
                let best = of(&best_left(&before.y, &omega, &before.core, &before.right, left), &before.right);
                assert!(best < 0.9999 * start, "{what}: the twin's left must be better than the start");
                assert_close(of(&after.left, &before.right), best, 1e-3, 0.0, &format!("{what}: loss after the left"));
                let twin = swept_right(&before.y, &omega, &after.left, &before.core, &before.right, right);
                let (found, twin) = (of(&after.left, &after.right), of(&after.left, &twin));
                assert!(twin < 0.9999 * best, "{what}: the twin's right must be better than its start");
                assert_close(found, twin, 1e-3, 0.0, &format!("{what}: loss after the right"));
                assert_close(after.reported, found, 1e-5, 0.0, &format!("{what}: reported loss"));
            }
        }
    }
}

#[test]
fn sweeps_are_those_of_the_twin() {
    for (rows, cols, left, right) in SHAPES {
        let (w, h) = (weight(rows, cols, 2), full_hessian(cols, 2 * cols, 2));
        let omega = correlation(&h, 0.2);
        let [_, log] = spied(&w, &h, &options(left, right).shrinkage(0.2));
        for (before, after) in log {
            let what = format!("{rows}x{cols}");
            let of = |core: &Mat| coupled_loss(&before.y, &omega, &before.left, core, &before.right);
            let twin = sweep(&before, &omega);
            assert!(of(&twin) < 0.999 * of(&before.core), "{what}: the twin's sweep must do something");
            assert_close(of(&after.core), of(&twin), 1e-4, 0.0, &format!("{what}: loss after the sweep"));
            assert_close(after.reported, of(&after.core), 1e-5, 0.0, &format!("{what}: reported loss"));
            let differing = twin.iter().zip(&after.core).filter(|&(t, a)| (*t != 0.0) != (*a != 0.0)).count();
            assert!(differing * 100 <= twin.len() + 400, "{what}: {differing} of {} entries kept differ", twin.len());
        }
    }
}

/// At α = 1 there is nothing to couple; just below it the coupled updates do what the separable ones do.
#[test]
fn shrinkage_towards_one_is_the_diagonal_objective() {
    /// The separable loss with NoWag's row scales and no column scales.
    struct RowsOnly;

    impl ProxyLoss for RowsOnly {
        fn normalize(&self, layer: &Layer<'_>) -> Result<Normalization, BoxError> {
            let rows = Normalization::nowag(layer).rows;
            Ok(Normalization { rows, ..Normalization::plain(layer) })
        }
    }

    for (rows, cols, left, right) in SHAPES {
        let (w, h) = (weight(rows, cols, 3), full_hessian(cols, 2 * cols, 3));
        let layer = Layer::new(&w, checked(&h)).expect("valid");
        for weighting in [RowWeighting::Uniform, RowWeighting::NoWag] {
            let options = options(left, right).temperature(0.0).iterations(15).row_weighting(weighting);
            let full = factorize(&layer, &options.clone().shrinkage(1.0 - 1e-12)).expect("runs");
            let alone = factorize(&layer, &options.clone().shrinkage(1.0)).expect("runs");
            let diagonal = options.objective(Objective::Diagonal);
            let diagonal = match weighting {
                RowWeighting::Uniform => factorize(&layer, &diagonal),
                _ => Descent::new(&diagonal).expect("valid").proxy_loss(RowsOnly).run(&layer),
            };
            let diagonal = diagonal.expect("runs");
            assert!(same(&alone, &diagonal), "{rows}x{cols}, {weighting:?}: α = 1");
            for (t, (a, b)) in full.history().iter().zip(diagonal.history()).enumerate() {
                // 10⁻⁹ of the energy is f32's own rounding.
                assert_close(*a, *b, 1e-5, 1e-9, &format!("{rows}x{cols}, {weighting:?}, iteration {t}"));
            }
        }
    }
}

#[test]
fn the_loss_is_never_above_its_start() {
    let mut inputs: Vec<(String, Array2<f32>)> =
        vec![("a regular one".into(), full_hessian(60, 120, 4)), ("one of 16 tokens".into(), full_hessian(60, 16, 4))];
    let mut dead = full_hessian(60, 120, 5);
    for j in [0, 7, 59] {
        dead.row_mut(j).fill(0.0);
        dead.column_mut(j).fill(0.0);
    }
    inputs.push(("one with dead inputs".into(), dead));
    inputs.push(("one of a single token".into(), full_hessian(60, 1, 6)));
    inputs
        .push(("an indefinite one".into(), Array2::from_shape_fn((60, 60), |(i, j)| if i == j { 1.0 } else { -0.5 })));
    for (what, h) in inputs {
        for alpha in [0.0, 0.01, 0.3, 0.7, 1.0] {
            for seed in [1, 2] {
                let w = weight(50, 60, seed);
                let layer = Layer::new(&w, checked(&h)).expect("valid");
                let result = factorize(&layer, &options(16, 16).shrinkage(alpha).iterations(30)).expect("runs");
                let what = format!("{what}, α {alpha}");
                assert!(result.loss() <= result.history()[0] * (1.0 + 1e-9), "{what}: {} rose", result.loss());
                assert!(result.loss() < 0.9 * result.nowag_p_loss(), "{what}: nothing was gained");
                assert!(result.history().iter().all(|loss| loss.is_finite() && *loss >= 0.0), "{what}");
                assert!(result.ridge() >= 0.0 && result.ridge().is_finite(), "{what}");
                let cold = factorize(&layer, &options(16, 16).shrinkage(alpha).temperature(0.0).iterations(30));
                for pair in cold.expect("runs").history().windows(2) {
                    assert!(pair[1] <= pair[0], "{what}: a greedy iteration raised {} to {}", pair[0], pair[1]);
                }
            }
        }
    }
}

#[test]
fn a_ridge_is_added_only_where_it_is_needed() {
    let w = weight(16, 48, 7);
    let ridge = |h: &Array2<f32>, alpha: f64| {
        let layer = Layer::new(&w, checked(h)).expect("valid");
        factorize(&layer, &options(16, 16).shrinkage(alpha).iterations(2)).expect("runs").ridge()
    };
    assert_eq!(ridge(&full_hessian(48, 200, 7), 0.0), 0.0);
    assert_eq!(ridge(&full_hessian(48, 8, 7), 0.1), 0.0);
    let singular = ridge(&full_hessian(48, 8, 7), 0.0);
    assert!(singular > 0.0 && singular < 1e-4, "{singular}");
}

#[test]
fn reported_losses_are_those_of_the_factors() {
    for weighting in [RowWeighting::Uniform, RowWeighting::NoWag] {
        let (w, h) = (weight(50, 60, 8), full_hessian(60, 120, 8));
        let heldout = full_hessian(60, 90, 9);
        let layer = Layer::new(&w, checked(&h)).expect("valid");
        let options = options(16, 16).shrinkage(0.25).iterations(20).row_weighting(weighting);
        let result = factorize(&layer, &options).expect("runs");
        let factors = [common::dense(result.left()), common::dense_core(result.core()), common::dense(result.right())];
        let (wide, approximation) = (to_f64(&w), factors[0].dot(&factors[1]).dot(&factors[2]));
        let rows = match weighting {
            RowWeighting::Uniform => vec![1.0; 50],
            _ => Normalization::nowag(&layer).rows,
        };
        // √D Ω √D of the importances and the correlation: H with its off-diagonal shrunk.
        let shrunk = Mat::from_shape_fn((60, 60), |(i, j)| f64::from(h[[i, j]]) * if i == j { 1.0 } else { 0.75 });
        let by_row = |x: &Mat| Mat::from_shape_fn(x.dim(), |(i, j)| x[[i, j]] / rows[i]);
        let error = &wide - &approximation;
        let expected = quadratic_form(&by_row(&error), &shrunk) / quadratic_form(&by_row(&wide), &shrunk);
        assert_close(result.loss(), expected, 1e-6, 0.0, "loss");
        let best = result.history().iter().copied().fold(f64::INFINITY, f64::min);
        assert_close(best, result.loss(), 1e-4, 0.0, "the descent's own loss");
        for h in [&h, &heldout] {
            let expected = quadratic_form(&error, &to_f64(h)) / quadratic_form(&wide, &to_f64(h));
            let layer = Layer::new(&w, checked(h)).expect("valid");
            assert_close(result.output_error(&layer).expect("fits"), expected, 1e-9, 0.0, "output error");
        }
    }
}

#[test]
fn the_output_error_under_a_diagonal_is_the_separable_one() {
    let (w, h) = (weight(20, 24, 10), full_hessian(24, 50, 10));
    let diagonal = Hessian::from_diagonal_of(&h).expect("valid");
    let layer = Layer::new(&w, diagonal).expect("valid");
    let result = factorize(&layer, &Options::exact().block(8).iterations(5)).expect("runs");
    let error = to_f64(&w) - to_f64(&result.reconstruct());
    let of = |x: &Mat| x.indexed_iter().map(|((_, j), x)| f64::from(h[[j, j]]) * x * x).sum::<f64>();
    assert_close(result.output_error(&layer).expect("fits"), of(&error) / of(&to_f64(&w)), 1e-5, 0.0, "output error");
    let other = weight(20, 28, 10);
    let other = Layer::new(&other, Hessian::identity(28)).expect("valid");
    let refused = result.output_error(&other).expect_err("another shape");
    assert_eq!(refused, Error::Length { argument: "layer.weight columns", found: 28, expected: 24 });
}

#[test]
fn the_full_objective_lowers_the_output_error() {
    let (w, h) = (weight(64, 96, 11), full_hessian(96, 200, 11));
    let layer = Layer::new(&w, checked(&h)).expect("valid");
    let error = |options: &Options| factorize(&layer, options).expect("runs").output_error(&layer).expect("fits");
    let diagonal = error(&Options::exact().block(16).iterations(40));
    let full = error(&options(16, 16).iterations(40));
    assert!(full < 0.95 * diagonal, "{full} against {diagonal}");
}

fn same(a: &Factorization, b: &Factorization) -> bool {
    (a.left(), a.core(), a.right(), a.history()) == (b.left(), b.core(), b.right(), b.history())
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for (rows, cols, left, right) in [(301, 76, 8, 16), (70, 600, 16, 32)] {
        let (w, h) = (weight(rows, cols, 12), full_hessian(cols, 2 * cols, 12));
        let layer = Layer::new(&w, checked(&h)).expect("valid");
        let run = |threads| factorize(&layer, &options(left, right).iterations(5).threads(threads)).expect("runs");
        let base = run(1);
        for threads in [2, 3, 8] {
            assert!(same(&base, &run(threads)), "{rows}x{cols}, {threads} threads");
        }
    }
}

#[test]
fn a_memory_limit_narrows_the_spans_or_is_refused() {
    let (rows, cols) = (40, 640);
    let (w, h) = (weight(rows, cols, 13), full_hessian(cols, 2 * cols, 13));
    let layer = Layer::new(&w, checked(&h)).expect("valid");
    let run = |limit| factorize(&layer, &options(8, 32).temperature(0.0).iterations(4).memory_limit(limit));
    let Err(Error::MemoryLimit { limit: 1, needed, rows: 40, cols: 640 }) = run(Some(1)) else {
        panic!("one byte is not enough");
    };
    assert!(needed >= 12 * cols * cols, "the Cholesky factorisation alone needs more");
    let (narrow, wide) = (run(Some(needed)).expect("fits"), run(None).expect("runs"));
    for (a, b) in narrow.history().iter().zip(wide.history()) {
        assert_close(*a, *b, 1e-4, 0.0, "loss with narrow spans");
    }
    assert!(run(Some(needed - 1)).is_err());
}

#[test]
fn bad_hessians_are_refused_with_their_place() {
    let good = full_hessian(8, 20, 14);
    let with = |changes: &[(usize, usize, f32)]| {
        let mut h = good.clone();
        for &(i, j, value) in changes {
            h[[i, j]] = value;
        }
        Hessian::from_full(&h).expect_err("bad")
    };
    assert!(matches!(with(&[(2, 5, f32::NAN)]), Error::HessianNotFinite { row: 2, col: 5, .. }));
    assert!(matches!(with(&[(5, 2, f32::INFINITY)]), Error::HessianNotFinite { row: 5, col: 2, .. }));
    assert!(matches!(with(&[(3, 3, -1.0)]), Error::HessianNegative { index: 3, .. }));
    let huge = with(&[(6, 1, 900.0), (1, 6, 900.0)]);
    assert!(matches!(huge, Error::HessianIndefinite { row: 1, col: 6, .. }), "{huge}");
    assert!(matches!(with(&[(6, 1, 9.0)]), Error::HessianAsymmetric { row: 1, col: 6, mirrored: 9.0, .. }));
    assert!(matches!(
        Hessian::from_full(&Array2::<f32>::zeros((3, 4))).expect_err("bad"),
        Error::HessianNotSquare { rows: 3, cols: 4 }
    ));
    let rounded = good.mapv(half::bf16::from_f32);
    let hessian = Hessian::from_full(&rounded).expect("symmetric but for rounding");
    assert_eq!(hessian.kind(), HessianKind::Full);
}

#[test]
fn the_scale_of_the_hessian_does_not_matter() {
    let (w, h) = (weight(20, 24, 16), full_hessian(24, 50, 16).mapv(f64::from));
    let run = |scale: i32| {
        // In two steps, for 2^-1000 alone takes the smallest numbers out of f64.
        let scaled = h.mapv(|x| x * f64::from(scale / 2).exp2() * f64::from(scale - scale / 2).exp2());
        let layer = Layer::new(&w, Hessian::from_full(&scaled).expect("valid")).expect("valid");
        let result = factorize(&layer, &options(8, 8).iterations(8)).expect("runs");
        let error = result.output_error(&layer).expect("fits");
        (result, error)
    };
    let (base, error) = run(0);
    for scale in [-960, -200, -100, 60, 100] {
        let (scaled, scaled_error) = run(scale);
        assert!(same(&base, &scaled), "2^{scale}");
        assert_eq!(error.to_bits(), scaled_error.to_bits(), "2^{scale}");
    }
}

#[test]
fn what_the_objective_cannot_work_with_is_refused() {
    let (w, h) = (weight(8, 16, 15), full_hessian(16, 40, 15));
    let full = Layer::new(&w, checked(&h)).expect("valid");
    let diagonal = Layer::new(&w, Hessian::from_diagonal_of(&h).expect("valid")).expect("valid");
    let options = options(8, 8).iterations(2);
    let refused = factorize(&diagonal, &options).expect_err("no full Hessian");
    assert!(matches!(refused, Error::HessianNotFull { .. }), "{refused}");
    for alpha in [-0.1, 1.1, f64::NAN] {
        let refused = options.clone().shrinkage(alpha).validate().expect_err("out of range");
        assert!(matches!(refused, Error::Option { name: "shrinkage", .. }), "{refused}");
        let loss = FullOutputError { shrinkage: alpha, row_weighting: RowWeighting::Uniform };
        let refused = Descent::new(&options).expect("valid").proxy_loss(loss).run(&full).expect_err("out of range");
        assert!(matches!(refused, Error::Option { name: "shrinkage", .. }), "{refused}");
    }
    for method in [Method::Paper, Method::Gradient] {
        let refused = options.clone().method(method).validate().expect_err("not for this objective");
        assert!(matches!(refused, Error::Option { name: "method", .. }), "{refused}");
    }
    let descent = || Descent::new(&options).expect("valid");
    for (part, run) in [
        ("JointAdam", descent().wrapper_update(JointAdam::new(1e-3)).run(&full)),
        ("SequentialGradient", descent().wrapper_update(SequentialGradient::default()).run(&full)),
        ("SampledGroup", descent().wrapper_update(Nothing).core_update(SampledGroup).run(&full)),
    ] {
        assert_eq!(run.expect_err("separable losses only"), Error::Coupled { part });
    }
    assert!(descent().initial_mask(Magnitude).run(&full).is_ok());
}
