//! What a part of a caller's own reads, reports and promises.

mod common;

use std::sync::Mutex;

use armor_core::{
    AnnealedSweep, BoxError, CoreUpdate, Correlation, Descent, ExactSweep, FullOutputError, Hessian, Layer,
    LeastSquares, MaskSelector, NoWagP, Normalization, Objective, Options, ProxyLoss, RowWeighting, State, Step,
    Target, WrapperUpdate, factorize,
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
