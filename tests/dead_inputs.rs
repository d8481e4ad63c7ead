//! Inputs that were zero on every calibration token: they take no place from others, and weigh nothing in any loss.

mod common;

use armor_core::{
    BoxError, Correlation, Descent, Factorization, Hessian, Layer, MaskSelector, NoWagP, Normalization, Objective,
    Options, OutputError, Pattern, ProxyLoss, RowWeighting, SparseGpt, Wanda, factorize,
};
use common::coupled::quadratic_form;
use common::pruning::full_hessian;
use common::{Mat, Random, assert_close, dense, dense_core, importance, normalization, relative_loss, to_f64, weight};
use ndarray::{Array1, Array2};
use proptest::prelude::*;

fn pattern(n: usize, m: usize) -> Pattern {
    Pattern::new(n, m).expect("0 < N < M <= 8")
}

/// A S B of the stored factors, in f64.
fn product(result: &Factorization) -> Mat {
    dense(result.left()).dot(&dense_core(result.core())).dot(&dense(result.right()))
}

/// tr(E H Eᵀ) / tr(W H Wᵀ).
fn output_error(weight: &Mat, product: &Mat, hessian: &Mat) -> f64 {
    quadratic_form(&(weight - product), hessian) / quadratic_form(weight, hessian)
}

/// A Hessian, of which a diagonal objective knows the diagonal.
fn known(full: &Array2<f32>, objective: Objective) -> (Hessian, Mat) {
    match objective {
        Objective::Full => (Hessian::from_full(full).expect("valid"), to_f64(full)),
        _ => (Hessian::from_diagonal_of(full).expect("valid"), Mat::from_diag(&to_f64(full).diag())),
    }
}

fn prune(layer: &Layer<'_>, options: &Options, selector: impl MaskSelector) -> Factorization {
    Descent::new(options).expect("valid").initial_mask(selector).prune(layer).expect("prunes")
}

/// Every input that is not dead finds a place, so nothing is lost but by rounding.
#[test]
fn a_group_with_room_for_its_live_inputs_keeps_them_exactly() {
    let mut random = Random::new(1);
    let w = Array2::from_shape_fn((64, 64), |_| random.normal() as f32);
    let dead: Vec<usize> = (0..64).filter(|j| j % 4 < 2).collect();
    let full = full_hessian(64, 256, &dead, 1);
    let wide = to_f64(&w);
    let presets = [
        (Options::exact(), Objective::Diagonal),
        (Options::exact(), Objective::Full),
        (Options::paper().iterations(200), Objective::Diagonal),
    ];
    for (preset, objective) in presets {
        for pattern in [pattern(2, 4), pattern(4, 8)] {
            let options = preset.clone().block(16).pattern(pattern).objective(objective).shrinkage(0.0);
            let what = format!("{objective:?}, {pattern}, {:?}", options.method);
            let (hessian, h) = known(&full, objective);
            let layer = Layer::new(&w, hessian).expect("valid");
            let result = factorize(&layer, &options).expect("runs");
            let wanda = prune(&layer, &options, Wanda);
            // A kept entry is a product of three rounded factors, of which the core's was rounded twice: it is within
            // four half units of the 24th bit, 2⁻²², and what it loses within 2⁻⁴⁴ of the sum without cancellation.
            let no_cancellation = quadratic_form(&wide.mapv(f64::abs), &h.mapv(f64::abs)) / quadratic_form(&wide, &h);
            let rounding = 2f64.powi(-44) * no_cancellation;
            let [of_result, of_wanda] = [&result, &wanda].map(|factors| output_error(&wide, &product(factors), &h));
            assert!(of_wanda <= rounding, "{what}: Wanda loses {of_wanda:e}, more than {rounding:e}");
            // No loss of the run is above NoWag-P's, which is rounding too; rows and columns that its scales weigh less
            // may have more of it.
            let (rows, cols, _) = normalization(&wide, &vec![1.0; 64]);
            let spread = |scales: &[f64]| {
                let range = scales.iter().fold((f64::INFINITY, 0.0_f64), |(a, b), &x| (a.min(x), b.max(x)));
                (range.1 / range.0).powi(2)
            };
            let slack = if objective == Objective::Diagonal { spread(&rows) * spread(&cols) } else { 1.0 };
            assert!(of_result <= slack * rounding, "{what}: {of_result:e}, more than {:e}", slack * rounding);
            assert!(result.loss() <= rounding, "{what}: loss {:e}", result.loss());
            assert_eq!((result.dead_inputs(), wanda.dead_inputs()), (32, 32));
            let reported = result.output_error(&layer).expect("fits");
            assert_close(reported, of_result, 1e-6, 1e-20, &format!("{what}: output error"));
        }
    }
}

type NewSelector = fn() -> Box<dyn MaskSelector>;

/// Live weights so small, or zero, that any rule by size would prune them.
#[test]
fn a_dead_input_never_takes_the_place_of_a_live_one() {
    let (rows, groups) = (70, 24);
    for (case, pattern) in
        [pattern(2, 4), pattern(1, 4), pattern(3, 4), pattern(4, 8), pattern(2, 5)].iter().enumerate()
    {
        let k = groups * pattern.m();
        let mut random = Random::new(case as u64);
        let dead: Vec<bool> = (0..k).map(|_| random.uniform() < 0.5).collect();
        let d = Array1::from_shape_fn(k, |j| if dead[j] { 0.0 } else { random.normal().exp() });
        for small in [1e-20, 0.0] {
            let w = Array2::from_shape_fn((rows, k), |(_, j)| random.normal() * if dead[j] { 1.0 } else { small });
            let w = w.mapv(|x| x as f32);
            let layer = Layer::new(&w, Hessian::from_diagonal(&d).expect("valid")).expect("valid");
            let check = |result: &Factorization, what: &str| {
                for (row, group) in (0..rows).flat_map(|row| (0..groups).map(move |group| (row, group))) {
                    let (mask, _) = result.core().group(row, group);
                    let of_group = |is_dead: bool, is_kept: bool| {
                        let columns = (0..pattern.m()).filter(move |j| (mask >> j & 1 == 1) == is_kept);
                        columns
                            .map(move |j| group * pattern.m() + j)
                            .filter(|&j| dead[j] == is_dead)
                            .collect::<Vec<_>>()
                    };
                    let (kept, pruned) = (of_group(true, true), of_group(true, false));
                    let place = format!("{what}, {pattern}, {small:e}, row {row}, group {group}");
                    assert!(kept.is_empty() || of_group(false, false).is_empty(), "{place}: a live input is pruned");
                    for (kept, pruned) in kept.iter().flat_map(|kept| pruned.iter().map(move |pruned| (kept, pruned))) {
                        assert!(w[[row, *kept]].abs() >= w[[row, *pruned]].abs(), "{place}: not the largest dead ones");
                    }
                }
            };
            for plain in [false, true] {
                let run = |threads: usize, selector: Box<dyn MaskSelector>| {
                    let options = Options::exact().pattern(*pattern).left_block(8).right_block(2 * pattern.m());
                    let descent = Descent::new(&options.threads(threads)).expect("valid").initial_mask(selector);
                    let descent = if plain { descent.proxy_loss(OutputError) } else { descent };
                    descent.prune(&layer).expect("prunes")
                };
                let selectors: [(&str, NewSelector); 2] =
                    [("NoWag-P", || Box::new(NoWagP)), ("Wanda", || Box::new(Wanda))];
                for (name, selector) in selectors {
                    let result = run(1, selector());
                    check(&result, &format!("{name}, plain {plain}"));
                    assert_eq!(result.core(), run(3, selector()).core(), "{name}: threads");
                }
            }
        }
    }
}

/// A layer and how a run sees it.
struct Case {
    weight: Array2<f32>,
    full: Array2<f32>,
    options: Options,
}

impl Case {
    /// The loss of the run, from its definition, in f64.
    fn loss(&self, product: &Mat) -> f64 {
        let (w, h) = (to_f64(&self.weight), to_f64(&self.full));
        let alpha = self.options.shrinkage;
        let rows = match self.options.row_weighting {
            Some(RowWeighting::NoWag) => normalization(&w, &h.diag().to_vec()).0,
            _ => vec![1.0; w.nrows()],
        };
        if self.options.objective == Objective::Diagonal {
            return match self.options.row_weighting {
                Some(RowWeighting::Uniform) => output_error(&w, product, &Mat::from_diag(&h.diag())),
                _ => relative_loss(&w, &h.diag().to_vec(), product),
            };
        }
        let shrunk = Mat::from_shape_fn(h.dim(), |(i, j)| h[[i, j]] * if i == j { 1.0 } else { 1.0 - alpha });
        let by_row = |x: &Mat| Mat::from_shape_fn(x.dim(), |(i, j)| x[[i, j]] / rows[i]);
        quadratic_form(&by_row(&(&w - product)), &shrunk) / quadratic_form(&by_row(&w), &shrunk)
    }

    /// Runs it, and checks every reported number against the definition.
    fn check(&self) -> Factorization {
        let (hessian, h) = known(&self.full, self.options.objective);
        let dead = h.diag().iter().filter(|&&d| d == 0.0).count();
        assert_eq!(hessian.dead_inputs(), dead);
        let layer = Layer::new(&self.weight, hessian).expect("valid");
        let result = factorize(&layer, &self.options).expect("runs");
        let pruned = prune(&layer, &self.options, NoWagP);
        assert_eq!((result.dead_inputs(), result.ridge()), (dead, 0.0));
        let [of_result, of_pruned] = [&result, &pruned].map(|factors| self.loss(&product(factors)));
        // What f64 leaves of numbers that cancel: a loss of 10⁻¹⁵ is that of f32 factors without any other error.
        let floor = 1e-20;
        assert_close(result.loss(), of_result, 1e-6, floor, "loss");
        assert_close(result.nowag_p_loss(), of_pruned, 1e-6, floor, "loss of NoWag-P");
        assert!(result.loss() <= result.nowag_p_loss());
        assert!(of_result <= of_pruned * (1.0 + 1e-6) + floor, "{of_result:e} above {of_pruned:e}");
        let error = output_error(&to_f64(&self.weight), &product(&result), &h);
        assert_close(result.output_error(&layer).expect("fits"), error, 1e-6, floor, "output error");
        result
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn losses_are_those_of_the_callers_own_hessian(
        rows in 1usize..40,
        groups in 1usize..10,
        left in 1usize..16,
        right in 1usize..5,
        eight in any::<bool>(),
        exact in any::<bool>(),
        objective in prop_oneof![Just(Objective::Diagonal), Just(Objective::Full)],
        rows_weighted in prop_oneof![Just(RowWeighting::NoWag), Just(RowWeighting::Uniform)],
        shrinkage in prop_oneof![Just(0.0), Just(0.01), Just(0.5), Just(1.0)],
        share in 0.0..1.0,
        seed in any::<u64>(),
    ) {
        let pattern = if eight { pattern(4, 8) } else { pattern(2, 4) };
        let k = groups * pattern.m();
        let mut random = Random::new(seed);
        // At least one input lives.
        let dead: Vec<usize> = (1..k).filter(|_| random.uniform() < share).collect();
        let preset = if exact || objective == Objective::Full { Options::exact() } else { Options::paper() };
        Case {
            weight: weight(rows, k, seed),
            full: full_hessian(k, 2 * k, &dead, seed),
            options: preset
                .objective(objective)
                .row_weighting(rows_weighted)
                .shrinkage(shrinkage)
                .left_block(left)
                .right_block(right * pattern.m())
                .pattern(pattern)
                .learning_rate(1e-2)
                .iterations(8)
                .seed(seed),
        }
        .check();
    }
}

/// A Hessian, of which some inputs are worth so much of what they were.
fn almost_dead(worth: f64) -> Array2<f32> {
    let full = full_hessian(96, 400, &[], 3);
    let roots = Array1::from_shape_fn(96, |j| if j % 3 == 0 || j < 8 { worth.sqrt() } else { 1.0 });
    Array2::from_shape_fn((96, 96), |(i, j)| (f64::from(full[[i, j]]) * roots[i] * roots[j]) as f32)
}

#[test]
fn nothing_jumps_where_an_input_dies() {
    let exact = Options::exact().block(8).iterations(60).shrinkage(0.0);
    let runs = [
        exact.clone(),
        exact.clone().temperature(0.0),
        exact.clone().objective(Objective::Full),
        exact.objective(Objective::Full).temperature(0.0),
        Options::paper().block(8).iterations(60).learning_rate(1e-3),
    ];
    for options in runs {
        let what = format!("{:?}, {:?}, temperature {}", options.method, options.objective, options.temperature);
        let run = |worth: f64| {
            Case { weight: weight(128, 96, 3), full: almost_dead(worth), options: options.clone() }.check()
        };
        let dead = run(0.0);
        assert_eq!(dead.dead_inputs(), 37, "{what}");
        assert!(dead.loss() < 0.8 * dead.nowag_p_loss(), "{what}: the run must do something");
        for worth in [1e-9, 1e-12, 1e-15] {
            let alive = run(worth);
            assert_eq!(alive.dead_inputs(), 0, "{what}");
            // The pruned weights of those inputs were worth no more than all others: relative to these, their squares
            // change by up to `worth`, in the loss and in what it is relative to, and their products with the errors of
            // others by twice the root of both.
            let pruned = dead.nowag_p_loss();
            let products = if options.objective == Objective::Full { 2.0 * (worth * pruned).sqrt() } else { 0.0 };
            assert_close(alive.nowag_p_loss(), pruned, 0.0, products + 2.0 * worth, &format!("{what}, {worth:e}"));
            // The smallest change leads a descent to another one of many minima, which differ by a few hundredths of that;
            // one that took dead inputs for live ones would lose more than half of it.
            assert_close(alive.loss(), dead.loss(), 0.0, 0.05 * pruned, &format!("{what}, {worth:e}"));
        }
    }
}

/// Everything but the number of dead inputs.
fn assert_same(a: &Factorization, b: &Factorization, what: &str) {
    assert_eq!((a.left(), a.core(), a.right()), (b.left(), b.core(), b.right()), "{what}");
    let losses = |f: &Factorization| [f.loss(), f.nowag_p_loss()].map(f64::to_bits);
    assert_eq!((a.history(), losses(a)), (b.history(), losses(b)), "{what}");
}

#[test]
fn a_hessian_that_is_all_zero_is_taken_as_the_identity() {
    let (w, k) = (weight(20, 48, 2), 48);
    let options = Options::exact().block(16).iterations(15);
    let (zero, one) = (Array2::<f32>::zeros((k, k)), Array2::<f32>::eye(k));
    let full = [&zero, &one].map(|h| Hessian::from_full(h).expect("valid"));
    let diagonal = [Hessian::from_diagonal_of(&zero).expect("valid"), Hessian::identity(k)];
    for (objective, [nothing, identity]) in [(Objective::Diagonal, diagonal), (Objective::Full, full)] {
        let options = options.clone().objective(objective);
        assert_eq!((nothing.dead_inputs(), identity.dead_inputs()), (k, 0));
        assert_eq!(nothing.importance(), vec![1.0; k]);
        let layers = [nothing, identity].map(|hessian| Layer::new(&w, hessian).expect("valid"));
        let results = layers.each_ref().map(|layer| factorize(layer, &options).expect("runs"));
        assert_same(&results[0], &results[1], &format!("{objective:?}"));
        assert_eq!(results.each_ref().map(Factorization::dead_inputs), [k, 0]);
        let [a, b] = layers.each_ref().map(|layer| results[0].output_error(layer).expect("fits"));
        assert_close(a, b, 1e-12, 0.0, "output error");
        let mut pruned = layers.each_ref().map(|layer| vec![prune(layer, &options, Wanda)]);
        if objective == Objective::Full {
            for (layer, pruned) in layers.iter().zip(&mut pruned) {
                pruned.push(prune(layer, &options, SparseGpt::new()));
            }
        }
        for (a, b) in pruned[0].iter().zip(&pruned[1]) {
            assert_same(a, b, "pruned");
        }
    }
}

#[test]
fn a_weight_of_dead_inputs_alone_loses_nothing() {
    let mut w = weight(20, 48, 4);
    let dead: Vec<usize> = (0..48).filter(|j| j % 5 < 3).collect();
    for j in (0..48).filter(|j| !dead.contains(j)) {
        w.column_mut(j).fill(0.0);
    }
    for objective in [Objective::Diagonal, Objective::Full] {
        let (hessian, _) = known(&full_hessian(48, 100, &dead, 4), objective);
        let layer = Layer::new(&w, hessian).expect("valid");
        let options = Options::exact().block(16).iterations(15).objective(objective);
        let result = factorize(&layer, &options).expect("runs");
        assert_eq!((result.loss(), result.nowag_p_loss()), (0.0, 0.0));
        let product = result.reconstruct();
        let live = (0..48).filter(|j| !dead.contains(j));
        assert!(live.into_iter().all(|j| product.column(j).iter().all(|&x| x == 0.0)), "no output may change");
        assert_eq!(result.output_error(&layer).expect("fits"), 0.0);
    }
}

/// Importances of one's own, of which some are zero, with errors coupled or not.
struct OwnImportance {
    importance: Vec<f64>,
    coupled_by: Option<Hessian>,
}

impl ProxyLoss for OwnImportance {
    fn normalize(&self, layer: &Layer<'_>) -> Result<Normalization, BoxError> {
        Ok(Normalization { importance: self.importance.clone(), ..Normalization::plain(layer) })
    }

    fn correlation(&self, _layer: &Layer<'_>) -> Result<Option<Correlation>, BoxError> {
        Ok(self.coupled_by.as_ref().map(|matrix| Correlation::new(matrix, 0.0)).transpose()?)
    }
}

#[test]
fn a_loss_of_ones_own_may_leave_inputs_out() {
    let (w, k) = (weight(24, 32, 5), 32);
    let layer = Layer::new(&w, Hessian::identity(k)).expect("valid");
    let full = full_hessian(k, 100, &[3, 9], 5);
    let matrix = to_f64(&full);
    let omega = common::coupled::correlation(&full, 0.0);
    // Zero, below what whitening works with, and ordinary, whatever the matrix says of the input.
    let own: Vec<f64> = (0..k).map(|j| [0.0, 1.0, 1e-15, 3.0][j % 4]).collect();
    assert!((0..k).any(|j| own[j] == 0.0 && matrix[[j, j]] > 0.0) && own[3] > 0.0);
    for coupled_by in [None, Some(Hessian::from_full(&full).expect("valid"))] {
        let weights = Mat::from_shape_fn((k, k), |(i, j)| {
            let of_pair = if coupled_by.is_some() { omega[[i, j]] } else { f64::from(u8::from(i == j)) };
            of_pair * (own[i] * own[j]).sqrt()
        });
        let loss = OwnImportance { importance: own.clone(), coupled_by };
        let options = Options::exact().block(8).iterations(20);
        let result = Descent::new(&options).expect("valid").proxy_loss(&loss).run(&layer).expect("runs");
        let expected = output_error(&to_f64(&w), &product(&result), &weights);
        assert_close(result.loss(), expected, 1e-6, 1e-20, "loss");
        assert!(result.loss() <= result.nowag_p_loss());
        assert_eq!(result.dead_inputs(), 0, "the Hessian's own");
    }
}

#[test]
fn importances_are_relative_to_the_mean_over_all_inputs() {
    for d in [vec![0.0, 2.0, 0.0, 6.0], vec![1e-300, 0.0, 5.0, 1e-20], vec![0.0, 0.0, 0.0, f64::from_bits(1)]] {
        let hessian = Hessian::from_diagonal(&Array1::from(d.clone())).expect("valid");
        assert_eq!(hessian.dead_inputs(), d.iter().filter(|&&d| d == 0.0).count());
        let found = hessian.importance();
        assert!(found.iter().all(|d| d.is_finite()), "{found:?}");
        for (found, d) in found.iter().zip(&d) {
            assert_eq!(*found == 0.0, *d == 0.0, "{found:?}");
        }
        if d[3] > 1e-300 {
            assert_eq!(found, importance(&d));
        }
    }
}
