//! What a part of a caller's own reads, reports and promises.

mod common;

use std::sync::Mutex;

use armor_core::{
    AnnealedSweep, BoxError, CoreUpdate, Correlation, Descent, Error, ExactSweep, FullOutputError, Hessian, Layer,
    LeastSquares, MaskSelector, NoWagLoss, NoWagP, Normalization, Objective, Options, ProxyLoss, RowWeighting, State,
    Step, Target, Wanda, WrapperUpdate, factorize,
};
use common::coupled::full_hessian;
use common::{Mat, assert_close, dense, dense_core, hessian, to_f64, weight};
use ndarray::{Array2, ArrayView2, s};

/// Rows, columns, left and right blocks: some divide the layer, some do not.
const SHAPES: [(usize, usize, usize, usize); 4] = [(16, 32, 8, 16), (22, 40, 8, 16), (7, 20, 3, 8), (5, 12, 64, 64)];

/// A state after two rounds of updates, so that no factor is an identity.
fn moved<'t>(target: &'t Target) -> State<'t> {
    let mut state = State::new(target);
    NoWagP.select(&mut state).expect("any target will do");
    for iteration in 1..=2 {
        let step = Step::new(iteration, 7, 0.0);
        LeastSquares::default().update(&mut state, &step).expect("runs");
        ExactSweep::default().update(&mut state, &step).expect("runs");
    }
    // Away from the minimum, where gradients vanish.
    state.left_mut().block_mut(0)[[0, 0]] += 0.5;
    state.right_mut().block_mut(0)[[1, 2]] += 0.25;
    state
}

/// The target of a layer under both objectives: with Ω = I, and with a full Ω.
fn targets(shape: (usize, usize, usize, usize)) -> [Target; 2] {
    let (rows, cols, left, right) = shape;
    let w = weight(rows, cols, 3);
    let layer = Layer::new(&w, Hessian::from_full(&full_hessian(cols, 2 * cols, 3)).expect("valid")).expect("valid");
    let options = Options::exact().left_block(left).right_block(right);
    [Objective::Diagonal, Objective::Full].map(|objective| {
        Descent::new(&options.clone().objective(objective)).expect("valid").target(&layer).expect("valid")
    })
}

/// Ω as the target gives it out, or the identity.
fn omega(target: &Target) -> Mat {
    let k = target.cols();
    let mut omega = Mat::eye(k);
    if let Some(coupling) = target.coupling() {
        for i in 0..k {
            for (j, entry) in coupling.row(i).enumerate() {
                omega[[i, j]] = entry;
            }
        }
    }
    omega
}

#[track_caller]
fn assert_block(found: ArrayView2<'_, f32>, expected: &Mat, scale: f64, what: &str) {
    assert_eq!(found.dim(), expected.dim(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() <= 2e-6 * scale, "{what}: {found} is not {expected}");
    }
}

#[test]
fn residual_and_gradients_are_those_of_dense_matrices() {
    for shape in SHAPES {
        for target in targets(shape) {
            let state = moved(&target);
            let (a, s, b) = (dense(state.left()), dense_core(state.core()), dense(state.right()));
            let y = Mat::from_shape_fn((target.rows(), target.cols()), |(i, j)| f64::from(target.whitened(i, j)));
            let omega = omega(&target);
            let residual = a.dot(&s).dot(&b) - &y;
            let weighted = residual.dot(&omega);
            let of_left = 2.0 * weighted.dot(&s.dot(&b).t());
            let of_right = 2.0 * a.dot(&s).t().dot(&weighted);
            let of_core = 2.0 * a.t().dot(&weighted).dot(&b.t());
            let scale = |matrix: &Mat| matrix.iter().fold(0.0, |most: f64, x| most.max(x.abs()));

            let found = state.residual();
            let (rows, cols) = (target.row_blocks(), target.col_blocks());
            for i in 0..rows.count() {
                let part = |matrix: &Mat, j: usize| matrix.slice(s![rows.range(i), cols.range(j)]).to_owned();
                for j in 0..cols.count() {
                    let what = format!("{shape:?}, block ({i}, {j})");
                    assert_block(target.block(i, j), &part(&y, j), 1.0, &what);
                    assert_block(found.block(i, j), &part(&residual, j), scale(&y), &what);
                    assert_block(found.weighted_block(i, j), &part(&weighted, j), 4.0 * scale(&y), &what);
                    let left_product = found.left_product(i, j);
                    assert_block(left_product.view(), &part(&a.dot(&s), j), scale(&y) + 1.0, &what);
                    let gradient = found.core_gradient(i, j);
                    assert_block(gradient.view(), &part(&of_core, j), 8.0 * scale(&of_core), &what);
                }
                let expected = of_left.slice(s![rows.range(i), rows.range(i)]).to_owned();
                let gradient = found.left_gradient(i);
                assert_block(gradient.view(), &expected, 8.0 * scale(&of_left), &format!("{shape:?}, left {i}"));
            }
            for j in 0..cols.count() {
                let expected = of_right.slice(s![cols.range(j), cols.range(j)]).to_owned();
                let gradient = found.right_gradient(j);
                assert_block(gradient.view(), &expected, 8.0 * scale(&of_right), &format!("{shape:?}, right {j}"));
            }
        }
    }
}

#[test]
fn the_cholesky_factor_is_that_of_the_correlation() {
    for shape in SHAPES {
        let [separable, coupled] = targets(shape);
        assert!(separable.coupling().is_none());
        let coupling = coupled.coupling().expect("the full objective couples");
        let k = coupled.cols();
        let factor = Mat::from_shape_fn((k, k), |(i, j)| f64::from(coupling.factor_row(i)[j]));
        let product = factor.dot(&factor.t());
        for ((i, j), found) in product.indexed_iter() {
            let expected = coupling.row(i).nth(j).expect("k entries");
            assert_close(*found, expected, 0.0, 1e-6, &format!("{shape:?}, entry [{i}, {j}]"));
            assert!(j <= i || factor[[i, j]] == 0.0, "{shape:?}: [{i}, {j}] is above the diagonal");
        }
    }
}

#[test]
fn a_state_of_its_own_knows_its_loss() {
    for shape in SHAPES {
        for target in targets(shape) {
            let mut state = moved(&target);
            let (a, s, b) = (dense(state.left()), dense_core(state.core()), dense(state.right()));
            let y = Mat::from_shape_fn((target.rows(), target.cols()), |(i, j)| f64::from(target.whitened(i, j)));
            let residual = a.dot(&s).dot(&b) - &y;
            let expected = (&residual.dot(&omega(&target)) * &residual).sum();
            assert_close(state.loss(), expected, 1e-5, 1e-6 * target.energy(), &format!("{shape:?}"));
            state.report_loss(42.0);
            assert_eq!(state.loss(), 42.0, "a reported loss is believed");
            state.core_mut();
            assert_close(state.loss(), expected, 1e-5, 1e-6 * target.energy(), "a change discards it");
        }
    }
}

/// A mask selector that leaves one value, and then reports a loss.
struct Leaves {
    value: f32,
    report: f64,
}

impl MaskSelector for Leaves {
    fn select(&mut self, state: &mut State<'_>) -> Result<(), BoxError> {
        NoWagP.select(state)?;
        let (mask, _) = state.core().group(1, 1);
        state.core_mut().set_group(1, 1, mask, &[self.value, 0.5])?;
        state.report_loss(self.report);
        Ok(())
    }
}

#[test]
fn a_start_that_is_not_finite_is_refused() {
    let w = weight(16, 32, 1);
    let h = full_hessian(32, 64, 1);
    let layer = Layer::new(&w, Hessian::from_full(&h).expect("valid")).expect("valid");
    for objective in [Objective::Diagonal, Objective::Full] {
        let options = Options::exact().block(8).iterations(5).objective(objective);
        let descent = |value| {
            let selector = Leaves { value, report: 1.0 };
            Descent::new(&options).expect("valid").initial_mask(selector)
        };
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for error in [descent(value).run(&layer).unwrap_err(), descent(value).prune(&layer).unwrap_err()] {
                assert!(matches!(error, Error::StartingLoss { loss } if !loss.is_finite()), "{value}: {error}");
            }
        }
        assert!(descent(0.5).run(&layer).is_ok());
    }
}

#[test]
fn a_wrong_report_does_not_spoil_a_run() {
    let w = weight(16, 32, 1);
    let layer = Layer::new(&w, Hessian::identity(32)).expect("valid");
    let options = Options::exact().block(8).iterations(20);
    let run = |report| {
        let selector = Leaves { value: 0.25, report };
        Descent::new(&options).expect("valid").initial_mask(selector).run(&layer).expect("runs")
    };
    let honest = run(f64::NAN);
    assert!(honest.loss() < 0.5 * honest.nowag_p_loss());
    for report in [0.0, -1.0, 1e-3, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(run(report), honest, "the mask reports {report}");
    }
    let target = Descent::new(&options).expect("valid").target(&layer).expect("valid");
    let mut state = moved(&target);
    let loss = state.loss();
    for report in [f64::NAN, -1.0, f64::INFINITY] {
        state.report_loss(report);
        assert_eq!(state.loss(), loss, "{report} is ignored");
    }
}

/// NoWag's loss, every scale times a factor.
struct Scaled {
    rows: f64,
    cols: f64,
    importance: f64,
}

impl ProxyLoss for Scaled {
    fn normalize(&self, layer: &Layer<'_>) -> Result<Normalization, BoxError> {
        let mut normalization = Normalization::nowag(layer);
        normalization.rows.iter_mut().for_each(|r| *r *= self.rows);
        normalization.cols.iter_mut().for_each(|r| *r *= self.cols);
        normalization.importance.iter_mut().for_each(|d| *d *= self.importance);
        Ok(normalization)
    }
}

#[test]
fn common_factors_of_scales_do_not_matter() {
    let w = weight(16, 32, 1);
    let layer = Layer::new(&w, Hessian::from_diagonal(&hessian(32, 1)).expect("valid")).expect("valid");
    let options = Options::exact().block(8).iterations(20);
    let run = |rows, cols, importance| {
        let loss = Scaled { rows, cols, importance };
        Descent::new(&options).expect("valid").proxy_loss(&loss).run(&layer)
    };
    let plain = run(1.0, 1.0, 1.0).expect("runs");
    for exponent in [-500, -100, -30, 30, 100, 500] {
        let factor = 2f64.powi(exponent);
        for (rows, cols, importance) in
            [(factor, 1.0, 1.0), (1.0, factor, 1.0), (1.0, 1.0, factor), (factor, 1.0, factor)]
        {
            let scaled = run(rows, cols, importance).expect("runs");
            let what = format!("rows {rows:e}, columns {cols:e}, importances {importance:e}");
            assert_close(scaled.loss(), plain.loss(), 0.05, 0.0, &what);
            assert_close(scaled.nowag_p_loss(), plain.nowag_p_loss(), 1e-5, 0.0, &what);
        }
    }
    for (rows, cols) in [(1e300, 1e300), (1e-300, 1e-300)] {
        let error = run(rows, cols, 1.0).unwrap_err();
        assert!(matches!(error, Error::LossScale { .. }), "{error}");
        assert!(error.to_string().starts_with("proxy_loss: the loss of a zero matrix is "), "{error}");
    }
}

/// tr((W − Ŵ) M (W − Ŵ)ᵀ), shrunk by α.
struct Weighted {
    matrix: Hessian,
    shrinkage: f64,
}

impl ProxyLoss for Weighted {
    fn normalize(&self, layer: &Layer<'_>) -> Result<Normalization, BoxError> {
        Ok(Normalization { importance: self.matrix.importance(), ..Normalization::plain(layer) })
    }

    fn correlation(&self, _layer: &Layer<'_>) -> Result<Option<Correlation>, BoxError> {
        Ok(Some(Correlation::new(&self.matrix, self.shrinkage)?))
    }
}

#[test]
fn a_loss_of_any_matrix_is_the_full_objective_of_that_matrix() {
    let (rows, k) = (24, 32);
    let w = weight(rows, k, 5);
    let matrix = Hessian::from_full(&full_hessian(k, 3 * k, 9)).expect("valid");
    let calibrated = Layer::new(&w, matrix.clone()).expect("valid");
    let other = Layer::new(&w, Hessian::from_diagonal(&hessian(k, 2)).expect("valid")).expect("valid");
    for shrinkage in [0.0, 0.5] {
        let options = Options::exact().block(8).iterations(8);
        let own = || Weighted { matrix: matrix.clone(), shrinkage };
        let expected = FullOutputError { shrinkage, row_weighting: RowWeighting::Uniform };
        let run = |loss: Box<dyn ProxyLoss>, layer: &Layer<'_>| {
            Descent::new(&options).expect("valid").proxy_loss(loss).run(layer).expect("runs")
        };
        let (found, expected) = (run(Box::new(own()), &other), run(Box::new(expected), &calibrated));
        assert_eq!(found, expected, "α = {shrinkage}");

        let approximation = found.reconstruct();
        let error = to_f64(&w) - to_f64(&approximation);
        let m = Mat::from_shape_fn((k, k), |(i, j)| {
            let entry = f64::from(matrix.row(i).expect("full")[j]);
            if i == j { entry } else { (1.0 - shrinkage) * entry }
        });
        let form = |x: &Mat| (&x.dot(&m) * x).sum();
        assert_close(found.loss(), form(&error) / form(&to_f64(&w)), 1e-5, 0.0, "the loss in f64");
        let descent = Descent::new(&options).expect("valid").proxy_loss(own());
        assert_eq!(descent.loss_of(&other, &found).expect("fits"), found.loss());
        let dense = descent.loss_of_dense(&other, approximation.view()).expect("fits");
        assert_close(dense, found.loss(), 1e-5, 0.0, "of the dense matrix");
        let narrow = Array2::zeros((rows, k - 4));
        let refused = descent.loss_of_dense(&other, narrow.view()).expect_err("narrow").to_string();
        assert_eq!(refused, "columns of replacement: has length 28, expected 32");
    }
}

/// Records every step with an entry of A: before a wrapper update, after a core update. The flags are what it promises.
struct Recorded<'a, U> {
    inner: U,
    calls: &'a Mutex<Vec<(Step, f32)>>,
    monotone: bool,
    extrapolation: bool,
    annealing: bool,
}

impl<U: WrapperUpdate> WrapperUpdate for Recorded<'_, U> {
    fn update(&mut self, state: &mut State<'_>, step: &Step) -> Result<(), BoxError> {
        self.calls.lock().expect("alone").push((*step, state.left().block(0)[[0, 0]]));
        self.inner.update(state, step)
    }

    fn is_monotone(&self) -> bool {
        self.monotone
    }

    fn allows_extrapolation(&self) -> bool {
        self.extrapolation
    }
}

impl<U: CoreUpdate> CoreUpdate for Recorded<'_, U> {
    fn update(&mut self, state: &mut State<'_>, step: &Step) -> Result<(), BoxError> {
        self.inner.update(state, step)?;
        self.calls.lock().expect("alone").push((*step, state.left().block(0)[[0, 0]]));
        Ok(())
    }

    fn is_monotone(&self) -> bool {
        self.monotone
    }

    fn allows_extrapolation(&self) -> bool {
        self.extrapolation
    }

    fn anneals(&self) -> bool {
        self.annealing
    }
}

#[test]
fn the_loop_does_what_the_parts_allow() {
    let w = weight(40, 48, 1);
    let layer = Layer::new(&w, Hessian::from_diagonal(&hessian(48, 1)).expect("valid")).expect("valid");
    let options = Options::exact().block(8).iterations(30);
    for (monotone, extrapolation, annealing) in
        [(true, true, true), (true, true, false), (true, false, false), (false, false, false)]
    {
        let (wrappers, cores) = (Mutex::default(), Mutex::default());
        let result = Descent::new(&options)
            .expect("valid")
            .wrapper_update(Recorded {
                inner: LeastSquares::default(),
                calls: &wrappers,
                monotone,
                extrapolation,
                annealing,
            })
            .core_update(Recorded {
                inner: AnnealedSweep::default(),
                calls: &cores,
                monotone,
                extrapolation,
                annealing,
            })
            .run(&layer)
            .expect("runs");
        let (wrappers, cores) = (wrappers.into_inner().expect("alone"), cores.into_inner().expect("alone"));
        let steps = |calls: &[(Step, f32)]| calls.iter().map(|call| call.0).collect::<Vec<Step>>();
        assert_eq!(steps(&wrappers), steps(&cores), "both parts see the same steps");
        let what = format!("monotone {monotone}, extrapolation {extrapolation}, annealing {annealing}");
        assert_eq!(cores.iter().any(|(step, _)| step.temperature > 0.0), annealing, "{what}");
        let moved = wrappers[1..].iter().zip(&cores).any(|(before, after)| before.1 != after.1);
        assert_eq!(moved, extrapolation, "{what}: A moves between two iterations where both parts allow it");
        if !extrapolation {
            assert_eq!(cores.len(), 30, "{what}: every part runs once in an iteration");
        }
        assert!(result.loss() < result.nowag_p_loss(), "{what}");
    }
}

#[test]
fn parts_may_be_boxed_or_borrowed() {
    let w = weight(16, 32, 1);
    let layer = Layer::new(&w, Hessian::identity(32)).expect("valid");
    let options = Options::exact().block(8).iterations(5);
    let expected = factorize(&layer, &options).expect("runs");
    let mut wrappers = LeastSquares::default();
    let boxed: Box<dyn CoreUpdate> = Box::new(AnnealedSweep::default());
    let mask: Box<dyn MaskSelector> = Box::new(NoWagP);
    let descent = Descent::new(&options).expect("valid").initial_mask(mask).core_update(boxed);
    assert_eq!(descent.wrapper_update(&mut wrappers).run(&layer).expect("runs"), expected);
}

/// Plain scales, and errors coupled by any matrix.
struct CoupledBy(Hessian);

impl ProxyLoss for CoupledBy {
    fn normalize(&self, layer: &Layer<'_>) -> Result<Normalization, BoxError> {
        Ok(Normalization::plain(layer))
    }

    fn correlation(&self, _layer: &Layer<'_>) -> Result<Option<Correlation>, BoxError> {
        Ok(Some(Correlation::new(&self.0, 0.0)?))
    }
}

#[test]
fn matrices_that_do_not_fit_are_refused() {
    let w = weight(8, 16, 1);
    let layer = Layer::new(&w, Hessian::identity(16)).expect("valid");
    let run = |matrix: &Array2<f32>| {
        let matrix = Hessian::from_full(matrix).expect("every entry is within its bound");
        let descent = Descent::new(&Options::exact().block(8).iterations(2)).expect("valid");
        descent
            .proxy_loss(Weighted { matrix, shrinkage: 0.0 })
            .run(&layer)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    let narrow = full_hessian(12, 24, 1);
    assert_eq!(run(&narrow).unwrap_err(), "normalization.importance: has length 12, expected 16");
    let coupled = CoupledBy(Hessian::from_full(&narrow).expect("valid"));
    let error = Descent::new(&Options::exact().block(8)).expect("valid").proxy_loss(coupled).run(&layer).unwrap_err();
    assert_eq!(error.to_string(), "correlation: covers 12 inputs, expected 16");
    assert_eq!(run(&full_hessian(16, 4, 1)), Ok(()), "a singular one will do");
    let diagonal = Hessian::from_diagonal(&hessian(16, 1)).expect("valid");
    let message = Correlation::new(&diagonal, 0.5).unwrap_err().to_string();
    assert_eq!(message, "hessian: only its diagonal is known, but a correlation needs all of it");
}

/// NoWag's scales, all inputs alike.
struct InputsAlike;

impl ProxyLoss for InputsAlike {
    fn normalize(&self, layer: &Layer<'_>) -> Result<Normalization, BoxError> {
        let importance = vec![1.0; layer.cols()];
        Ok(Normalization { importance, ..Normalization::nowag(layer) })
    }
}

#[test]
fn wanda_scores_by_the_hessian_under_any_loss() {
    let w = weight(24, 32, 1);
    let layer = Layer::new(&w, Hessian::from_diagonal(&hessian(32, 1)).expect("valid")).expect("valid");
    let options = Options::exact().block(8);
    let prune = |loss: &dyn ProxyLoss| {
        let descent = Descent::new(&options).expect("valid").proxy_loss(loss).initial_mask(Wanda);
        descent.prune(&layer).expect("runs").core().to_bitmask()
    };
    assert_eq!(prune(&InputsAlike), prune(&NoWagLoss));
}
