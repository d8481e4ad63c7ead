//! What other methods are compared with: magnitude, Wanda, NoWag-P and SparseGPT are what their papers say.

mod common;

use armor_core::{
    Descent, Error, Factorization, FullOutputError, Hessian, Layer, Magnitude, MaskSelector, NoWagLoss, NoWagP,
    Objective, Options, OutputError, Pattern, ProxyLoss, RowWeighting, SparseGpt, StopReason, Wanda,
};
use common::pruning::{Pruned, full_hessian, norms, pruned_by, sparse_gpt};
use common::{Mat, assert_close, hessian, relative_loss, to_f64, weight};
use ndarray::Array2;

fn pattern(n: usize, m: usize) -> Pattern {
    Pattern::new(n, m).expect("0 < N < M <= 8")
}

/// Ragged blocks, whatever the layer.
fn options(pattern: Pattern) -> Options {
    Options::exact().pattern(pattern).left_block(24).right_block(6 * pattern.m())
}

fn full(matrix: &Array2<f32>) -> Hessian {
    Hessian::from_full(matrix).expect("symmetric")
}

fn pruned(layer: &Layer<'_>, options: &Options, selector: impl MaskSelector) -> Factorization {
    Descent::new(options).expect("valid").initial_mask(selector).prune(layer).expect("prunes")
}

fn diagonal(hessian: &Array2<f32>) -> Vec<f64> {
    hessian.diag().mapv(f64::from).to_vec()
}

/// The relative loss that rounding can cause: entries are products of three rounded factors, of which the core's was
/// rounded twice, so they are within four half units of the 24th bit.
const ROUNDING: f64 = 1.0 / (1u64 << 44) as f64;

/// Asserts that a result keeps what the twin keeps, with its values.
#[track_caller]
fn assert_same(result: &Factorization, twin: &Pruned, what: &str) {
    let (rows, cols) = twin.values.dim();
    let m = result.core().pattern().m();
    let kept = Array2::from_shape_fn((rows, cols), |(i, j)| result.core().group(i, j / m).0 >> (j % m) & 1 == 1);
    assert_eq!(kept, twin.kept, "{what}: mask");
    let largest = twin.values.iter().fold(0.0_f64, |largest, x| largest.max(x.abs()));
    for ((index, &found), &expected) in result.reconstruct().indexed_iter().zip(&twin.values) {
        assert_close(found.into(), expected, 2e-6, 2e-7 * largest, &format!("{what}: entry {index:?}"));
    }
}

#[track_caller]
fn assert_same_mask(a: &Factorization, b: &Factorization) {
    assert_eq!(a.core().to_bitmask(), b.core().to_bitmask());
}

/// Patterns, and widths around the edges of SparseGPT's blocks of columns.
fn cases() -> impl Iterator<Item = (Pattern, usize, usize)> {
    let widths = [
        (pattern(2, 4), vec![4, 8, 124, 128, 132, 256, 260]),
        (pattern(1, 4), vec![64, 128, 132]),
        (pattern(4, 8), vec![8, 120, 128, 136]),
        // Groups that do not divide 128 columns.
        (pattern(2, 5), vec![5, 125, 130, 135]),
        (pattern(6, 7), vec![7, 126, 133]),
    ];
    let heights = [1, 63, 64, 65, 70];
    widths
        .into_iter()
        .flat_map(|(pattern, widths)| widths.into_iter().map(move |k| (pattern, k)))
        .enumerate()
        .map(move |(case, (pattern, k))| (pattern, heights[case % heights.len()], k))
}

#[test]
fn sparse_gpt_is_its_twin() {
    for (case, (pattern, rows, k)) in cases().enumerate() {
        let seed = case as u64;
        let w = weight(rows, k, seed);
        for (dead, dampening) in [(vec![], 0.01), (vec![0, k / 2, k - 1], 0.01), (vec![1, 2, 3], 0.1)] {
            let h = full_hessian(k, 2 * k, &dead, seed);
            let layer = Layer::new(&w, full(&h)).expect("valid");
            let selector = SparseGpt::new().dampening(dampening);
            let result = pruned(&layer, &options(pattern), selector);
            let twin = sparse_gpt(&to_f64(&w), &to_f64(&h), pattern, dampening);
            let what = format!("{pattern}, {rows} × {k}, dead {dead:?}");
            assert_same(&result, &twin, &what);
            let loss = relative_loss(&to_f64(&w), &diagonal(&h), &twin.values);
            // Groups with no more live inputs than kept ones lose nothing else.
            assert_close(result.loss(), loss, 1e-5, ROUNDING, &what);
            assert!(dead.iter().all(|&j| result.reconstruct().column(j).iter().all(|&x| x == 0.0)), "{what}");
        }
    }
}

#[test]
fn magnitude_wanda_and_nowag_p_are_their_twins() {
    for (case, (pattern, rows, k)) in cases().enumerate() {
        let seed = 100 + case as u64;
        let w = weight(rows, k, seed);
        let mut d = hessian(k, seed);
        d[k / 2] = 0.0;
        let layer = Layer::new(&w, Hessian::from_diagonal(&d).expect("valid")).expect("valid");
        let (w, d) = (to_f64(&w), d.mapv(f64::from).to_vec());
        let (_, cols, importance) = common::normalization(&w, &d);
        let nowag: Vec<f64> = importance.iter().zip(&cols).map(|(d, r)| d.sqrt() / r).collect();
        let checks: [(&str, Factorization, Vec<f64>); 3] = [
            ("magnitude", pruned(&layer, &options(pattern), Magnitude), vec![1.0; k]),
            ("Wanda", pruned(&layer, &options(pattern), Wanda), norms(&d)),
            ("NoWag-P", pruned(&layer, &options(pattern), NoWagP), nowag),
        ];
        for (name, result, scales) in checks {
            let twin = pruned_by(&w, &scales, pattern);
            assert_same(&result, &twin, &format!("{name}, {pattern}, {rows} × {k}"));
            assert_close(result.loss(), relative_loss(&w, &d, &twin.values), 1e-5, ROUNDING, name);
        }
    }
}

#[test]
fn methods_agree_where_their_formulas_do() {
    let (rows, k) = (48, 132);
    let (w, options) = (weight(rows, k, 3), options(Pattern::TWO_FOUR));
    let alike = Layer::new(&w, Hessian::identity(k)).expect("valid");
    assert_same_mask(&pruned(&alike, &options, Wanda), &pruned(&alike, &options, Magnitude));

    // Without scales, NoWag-P weighs by the inputs alone.
    let layer = Layer::new(&w, Hessian::from_diagonal(&hessian(k, 3)).expect("valid")).expect("valid");
    let plain = || Descent::new(&options).expect("valid").proxy_loss(OutputError);
    let nowag = plain().initial_mask(NoWagP).prune(&layer).expect("prunes");
    let wanda = plain().initial_mask(Wanda).prune(&layer).expect("prunes");
    assert_same_mask(&nowag, &wanda);
    assert_same_mask(&wanda, &pruned(&layer, &options, Wanda));

    // Uncorrelated inputs leave nothing to make up for.
    let uncorrelated = Array2::from_diag(&hessian(k, 3));
    let layer = Layer::new(&w, full(&uncorrelated)).expect("valid");
    let updated = pruned(&layer, &options, SparseGpt::new().dampening(0.0));
    assert_same_mask(&updated, &pruned(&layer, &options, Wanda));
}

#[test]
fn sparse_gpt_lowers_the_output_error() {
    let (rows, k) = (64, 128);
    let w = weight(rows, k, 5);
    let layer = Layer::new(&w, full(&full_hessian(k, 1024, &[], 5))).expect("valid");
    let options = options(Pattern::TWO_FOUR);
    let error = |result: Factorization| result.output_error(&layer).expect("of its shape");
    let updated = error(pruned(&layer, &options, SparseGpt::new()));
    for other in
        [pruned(&layer, &options, Magnitude), pruned(&layer, &options, Wanda), pruned(&layer, &options, NoWagP)]
    {
        assert!(updated < 0.8 * error(other));
    }
}

#[test]
fn scale_of_the_hessian_does_not_matter() {
    let w = weight(20, 64, 6);
    let h = full_hessian(64, 200, &[7], 6);
    let result = |scale: f32| {
        let layer = Layer::new(&w, full(&h.mapv(|x| x * scale))).expect("valid");
        pruned(&layer, &options(Pattern::TWO_FOUR), SparseGpt::new()).core().clone()
    };
    assert_eq!(result(1.0), result(2f32.powi(40)));
    assert_eq!(result(1.0), result(2f32.powi(-40)));
}

#[test]
fn dampening_grows_until_the_hessian_factors() {
    let (rows, k) = (16, 64);
    let w = weight(rows, k, 7);
    let few_tokens = full_hessian(k, 5, &[9], 7);
    let mut indefinite = few_tokens.clone();
    // As large as it can be, and of the wrong sign: what the other inputs say of these two rules it out.
    let opposite = -few_tokens[[0, 1]].signum() * 0.99 * (few_tokens[[0, 0]] * few_tokens[[1, 1]]).sqrt();
    indefinite[[0, 1]] = opposite;
    indefinite[[1, 0]] = opposite;
    for h in [few_tokens, indefinite, Array2::zeros((k, k))] {
        let layer = Layer::new(&w, full(&h)).expect("valid");
        for dampening in [0.0, 1e-12, 0.01] {
            let selector = SparseGpt::new().dampening(dampening);
            let result = pruned(&layer, &options(Pattern::TWO_FOUR), selector);
            assert!(result.reconstruct().iter().all(|x| x.is_finite()));
            assert!(result.reconstruct().iter().any(|&x| x != 0.0));
        }
    }
}

#[test]
fn pruning_is_the_start_of_a_run_and_does_not_fall_back() {
    let (rows, k) = (70, 132);
    let w = weight(rows, k, 8);
    let h = full_hessian(k, 300, &[5], 8);
    let layer = Layer::new(&w, full(&h)).expect("valid");
    let options = options(Pattern::TWO_FOUR).iterations(6);
    let worse = pruned(&layer, &options, Magnitude);
    assert!(worse.loss() > worse.nowag_p_loss(), "magnitude is the worse one here");
    assert_eq!((worse.iterations(), worse.stop_reason()), (0, StopReason::Iterations));
    assert_close(worse.history()[0], worse.loss(), 1e-5, 0.0, "loss as the descent sees it");
    let nowag = pruned(&layer, &options, NoWagP);
    assert_eq!(nowag.loss(), nowag.nowag_p_loss());
    assert_eq!(nowag.nowag_p_loss(), worse.nowag_p_loss());

    let start = || SparseGpt::new();
    for objective in [Objective::Diagonal, Objective::Full] {
        let options = options.clone().objective(objective).shrinkage(0.1);
        let pruned = pruned(&layer, &options, start());
        let run = Descent::new(&options).expect("valid").initial_mask(start()).run(&layer).expect("runs");
        assert_eq!(run.history()[0], pruned.history()[0]);
        assert!(run.loss() < pruned.loss());
        assert_eq!(run.nowag_p_loss(), pruned.nowag_p_loss());
    }
}

#[test]
fn another_loss_of_the_factors_is_that_of_a_run_under_it() {
    let (rows, k) = (40, 64);
    let w = weight(rows, k, 9);
    let h = full_hessian(k, 200, &[], 9);
    let layer = Layer::new(&w, full(&h)).expect("valid");
    let options = options(Pattern::TWO_FOUR);
    let result = pruned(&layer, &options, Wanda);
    let coupled = FullOutputError { shrinkage: 0.0, row_weighting: RowWeighting::Uniform };
    let losses: [&dyn ProxyLoss; 3] = [&NoWagLoss, &OutputError, &coupled];
    let [nowag, plain, output] = losses.map(|loss| result.proxy_loss(&layer, loss).expect("of its shape"));
    let twin = pruned_by(&to_f64(&w), &norms(&diagonal(&h)), Pattern::TWO_FOUR).values;
    assert_close(nowag, relative_loss(&to_f64(&w), &diagonal(&h), &twin), 1e-5, 0.0, "NoWag's");
    assert_eq!(nowag, result.loss());
    let weighed = |x: &Mat, h: &Mat| x.dot(h).iter().zip(x).map(|(a, b)| a * b).sum::<f64>();
    let (w, h) = (to_f64(&w), to_f64(&h));
    let alone = Mat::from_diag(&h.diag());
    assert_close(plain, weighed(&(&w - &twin), &alone) / weighed(&w, &alone), 1e-5, 0.0, "plain");
    assert_close(output, weighed(&(&w - &twin), &h) / weighed(&w, &h), 1e-5, 0.0, "coupled");

    let narrow = weight(rows, k - 4, 9);
    let other = Layer::new(&narrow, Hessian::identity(k - 4)).expect("valid");
    let error = result.proxy_loss(&other, &NoWagLoss).unwrap_err();
    assert_eq!(error, Error::Length { argument: "layer.weight columns", found: k - 4, expected: k });
}

#[test]
fn same_bits_for_any_number_of_threads() {
    let (rows, k) = (201, 140);
    let w = weight(rows, k, 10);
    let layer = Layer::new(&w, full(&full_hessian(k, 300, &[3], 10))).expect("valid");
    let result = |threads: usize| {
        let options = options(Pattern::TWO_FOUR).threads(threads);
        let updated = pruned(&layer, &options, SparseGpt::new());
        let bits = updated.reconstruct().mapv(f32::to_bits);
        (updated.core().clone(), bits, updated.loss().to_bits(), pruned(&layer, &options, Wanda).core().clone())
    };
    let base = result(1);
    for threads in [0, 2, 3, 8] {
        assert_eq!(result(threads), base, "{threads} threads");
    }
}

#[test]
fn sparse_gpt_refuses_what_it_cannot_use() {
    let (rows, k) = (8, 16);
    let w = weight(rows, k, 11);
    let h = full_hessian(k, 50, &[], 11);
    let layer = Layer::new(&w, full(&h)).expect("valid");
    let refusal = |layer: &Layer<'_>, selector: SparseGpt| {
        let descent = || Descent::new(&options(Pattern::TWO_FOUR)).expect("valid").initial_mask(selector.clone());
        let error = descent().prune(layer).unwrap_err();
        assert_eq!(descent().run(layer).unwrap_err(), error);
        error
    };
    let diagonal = Hessian::from_diagonal_of(&h).expect("valid");
    let separable = Layer::new(&w, diagonal).expect("valid");
    assert_eq!(refusal(&separable, SparseGpt::new()), Error::HessianNotFull { needed_by: "SparseGPT" });
    for dampening in [-0.1, 1.1, f64::NAN] {
        let error = refusal(&layer, SparseGpt::new().dampening(dampening));
        assert!(matches!(error, Error::Option { name: "dampening", .. }), "{error}");
    }
    let three_wide = Options::exact().pattern(pattern(1, 3)).block(6);
    let error = Descent::new(&three_wide).expect("valid").prune(&layer).unwrap_err();
    assert_eq!(error, Error::ColumnsNotMultiple { cols: k, n: 1, m: 3 });
}
