//! Calibration on pairs: moments, corrected weights and output errors agree with f64 computations token by token.

mod common;

use armor_core::{
    CorrectionOptions, Element, Error, Layer, Objective, Options, PairAccumulator, PairMoments, Weight, factorize,
};
use common::pairs::Pairs;
use common::{Mat, assert_close, coupled, to_f64, weight};
use half::{bf16, f16};
use ndarray::{Array2, ArrayView2, Axis, ShapeBuilder, s};
use rayon::ThreadPoolBuilder;

/// One and two inputs, and half of a tile and a whole one, where the stacked numbers end or pass from x − x̂ to x̂.
const SIZES: [usize; 12] = [1, 2, 17, 64, 95, 96, 97, 191, 192, 193, 200, 288];

fn accumulated(pairs: &Pairs) -> PairAccumulator {
    let mut accumulator = PairAccumulator::new(pairs.inputs());
    accumulator.add(&pairs.dense, &pairs.compressed).expect("finite");
    accumulator
}

fn moments(pairs: &Pairs) -> PairMoments {
    accumulated(pairs).moments().expect("tokens were added")
}

fn options(strength: f64, ridge: f64) -> CorrectionOptions {
    CorrectionOptions { strength, ridge }
}

fn bits(values: &Array2<f32>) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

/// Ĥ within 10⁻⁶ of √(Ĥ_ii Ĥ_jj).
#[track_caller]
fn assert_hessian(found: &PairMoments, expected: &Mat, what: &str) {
    let hessian = found.hessian();
    for ((i, j), &expected_entry) in expected.indexed_iter() {
        let entry = f64::from(hessian.row(i).expect("the whole matrix")[j]) / hessian.scale();
        let scale = (expected[[i, i]] * expected[[j, j]]).sqrt();
        assert!(
            (entry - expected_entry).abs() <= 1e-6 * scale,
            "{what}: {entry} at [{i}, {j}] is not {expected_entry}"
        );
    }
}

/// The energy within what errors of 10⁻⁶ of √(E[z_i²] E[z_j²]) make of it.
#[track_caller]
fn assert_energy(found: f64, pairs: &Pairs, weight: &Mat, what: &str) {
    let stacked = pairs.stacked();
    let root = |i: usize| stacked[[i, i]].sqrt();
    let k = pairs.inputs();
    let largest: f64 = weight
        .rows()
        .into_iter()
        .map(|row| (0..k).map(|j| row[j].abs() * (root(j) + root(k + j))).sum::<f64>())
        .map(|x| x * x)
        .sum();
    let expected = pairs.energy(weight);
    assert!((found - expected).abs() <= 1e-6 * largest, "{what}: {found} is not {expected}");
}

#[test]
fn equal_to_the_f64_twin_at_every_edge() {
    for inputs in SIZES {
        let w = weight(3, inputs, 5);
        for tokens in [1, 2, 127, 128, 129, 300] {
            let pairs = Pairs::drifting(tokens, inputs, 0.2, 1);
            let found = moments(&pairs);
            let what = format!("{tokens} × {inputs}");
            assert_eq!((found.tokens(), found.inputs()), (tokens as u64, inputs));
            assert_hessian(&found, &pairs.hessian(), &what);
            let corrected = found.correct(&w, &CorrectionOptions::default()).expect("sound");
            assert_energy(corrected.energy, &pairs, &to_f64(&w), &what);
        }
    }
}

#[test]
fn a_small_drift_is_as_precise_as_a_large_one() {
    // A difference of the moments E[x x̂ᵀ] and Ĥ would be rounding here.
    let mut pairs = Pairs::drifting(1000, 40, 0.0, 2);
    pairs.compressed = pairs.dense.mapv(|x| x * (1.0 + 3e-6));
    let w = weight(8, 40, 3);
    let found = moments(&pairs).correct(&w, &options(1.0, 0.0)).expect("sound");
    let expected = pairs.output_error(&to_f64(&w), &w.view());
    assert_close(found.drift, expected, 1e-3, 0.0, "the drift");
    assert!(expected < 1e-11 && found.irreducible < 1e-3 * expected, "{expected:e} and {:e}", found.irreducible);
}

#[test]
fn more_than_the_scratch_holds() {
    // 4 Mi numbers a pass: three passes, the last one ragged.
    let pairs = Pairs::drifting(4800, 1000, 0.3, 3);
    let found = moments(&pairs);
    let narrow = pairs.compressed.slice(s![.., 190..194]).mapv(f64::from);
    let expected = pairs.compressed.mapv(f64::from).t().dot(&narrow) / 4800.0;
    let diagonal = found.hessian().diagonal();
    for ((i, j), &expected) in expected.indexed_iter() {
        let entry = f64::from(found.hessian().row(i).expect("the whole matrix")[190 + j]);
        let scale = (diagonal[i] * diagonal[190 + j]).sqrt();
        assert!((entry - expected).abs() <= 1e-6 * scale, "{entry} at [{i}, {j}] is not {expected}");
    }
}

#[test]
fn every_element_type_and_stride() {
    let single = Pairs::whole(70, 66, 5);
    let expected = accumulated(&single);
    let of = |add: &dyn Fn(&mut PairAccumulator) -> Result<(), Error>, what: &str| {
        let mut found = PairAccumulator::new(66);
        add(&mut found).expect("finite");
        assert_eq!(found, expected, "{what}");
    };
    let (dense, compressed) = (&single.dense, &single.compressed);
    let brain = compressed.mapv(bf16::from_f32);
    let half = dense.mapv(f16::from_f32);
    let double = dense.mapv(f64::from);
    of(&|a| a.add(dense, &brain), "f32 and bf16");
    of(&|a| a.add(&half, &brain), "f16 and bf16");
    of(&|a| a.add(&double, compressed), "f64 and f32");
    let mut columns = Array2::zeros((70, 66).f());
    columns.assign(dense);
    of(&|a| a.add(&columns, compressed), "column-major");
    let wide = |values: &Array2<f32>| {
        let value = |i: usize, j: usize| {
            if i.is_multiple_of(2) && !j.is_multiple_of(2) { values[[i / 2, j / 2]] } else { f32::NAN }
        };
        Array2::from_shape_fn((140, 132), |(i, j)| value(i, j))
    };
    let (wide_dense, wide_compressed) = (wide(dense), wide(compressed));
    let part = s![..;2, 1..;2];
    of(&|a| a.add(&wide_dense.slice(part), &wide_compressed.slice(part)), "every other row and column");
    let mut reversed = compressed.slice(s![..;-1, ..]).to_owned();
    reversed.invert_axis(Axis(0));
    of(&|a| a.add(dense, &reversed), "negative strides");
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let pairs = Pairs::drifting(700, 200, 0.2, 6);
    let w = weight(150, 200, 6);
    let runs = [1, 2, 8].map(|threads| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| {
            let accumulator = accumulated(&pairs);
            let moments = accumulator.moments().expect("tokens");
            let corrected = moments.correct(&w, &options(0.7, 1e-3)).expect("sound");
            let error = moments.output_error(&w, &corrected.weight.view()).expect("sound");
            (accumulator, moments, corrected, error.to_bits())
        })
    });
    assert_eq!(runs[0], runs[1]);
    assert_eq!(runs[0], runs[2]);
}

#[test]
fn splits_and_the_order_of_merging_are_rounding() {
    let pairs = Pairs::drifting(900, 70, 0.2, 7);
    let part = |from: usize, to: usize| Pairs {
        dense: pairs.dense.slice(s![from..to, ..]).to_owned(),
        compressed: pairs.compressed.slice(s![from..to, ..]).to_owned(),
    };
    let parts = [part(0, 130), part(130, 131), part(131, 500), part(500, 900)];
    let w = weight(5, 70, 8);
    let whole = moments(&pairs).correct(&w, &CorrectionOptions::default()).expect("sound");
    for order in [[0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]] {
        let (mut merged, mut added) = (PairAccumulator::new(70), PairAccumulator::new(70));
        for index in order {
            merged.merge(&accumulated(&parts[index])).expect("of one kind");
            added.add(&parts[index].dense, &parts[index].compressed).expect("finite");
        }
        merged.merge(&PairAccumulator::new(70)).expect("of one kind");
        for accumulator in [merged, added] {
            assert_eq!(accumulator.tokens(), 900);
            let moments = accumulator.moments().expect("tokens");
            assert_hessian(&moments, &pairs.hessian(), &format!("order {order:?}"));
            let corrected = moments.correct(&w, &CorrectionOptions::default()).expect("sound");
            for (found, expected) in corrected.weight.iter().zip(&whole.weight) {
                assert!((found - expected).abs() <= 1e-4 * expected.abs().max(0.1), "{found} is not {expected}");
            }
        }
    }
}

#[test]
fn corrected_weights_solve_the_equations() {
    // All moments are exact here, so the only error is the rounding of W* to f32.
    for (rows, inputs) in [(1, 1), (3, 2), (2, 7), (64, 63), (65, 64), (1, 65), (130, 96), (70, 193)] {
        let pairs = Pairs::whole(512, inputs, 11);
        let moments = moments(&pairs);
        let w = weight(rows, inputs, 12);
        for (strength, ridge) in [(1.0, 0.0), (1.0, 0.01), (0.5, 0.01), (0.3, 1.0), (1.0, 50.0)] {
            let found = moments.correct(&w, &options(strength, ridge)).expect("sound");
            assert_eq!((found.strength, found.ridge), (strength, ridge));
            let expected = pairs.corrected(&to_f64(&w), strength, ridge);
            let scale = expected.iter().fold(0.0, |scale: f64, x| scale.max(x.abs()));
            for ((i, j), &expected) in expected.indexed_iter() {
                let found = f64::from(found.weight[[i, j]]);
                assert!(
                    (found - expected).abs() <= 6e-8 * expected.abs() + 1e-11 * scale,
                    "{rows} × {inputs}, γ = {strength}, λ = {ridge}: {found} at [{i}, {j}] is not {expected}"
                );
            }
        }
    }
}

#[test]
fn errors_are_those_of_the_tokens() {
    for (rows, inputs) in [(1, 1), (3, 2), (64, 63), (65, 64), (129, 97)] {
        let pairs = Pairs::whole(512, inputs, 13);
        let moments = moments(&pairs);
        let w = weight(rows, inputs, 14);
        let corrected = moments.correct(&w, &options(1.0, 0.0)).expect("sound");
        assert_close(corrected.energy, pairs.energy(&to_f64(&w)), 1e-12, 0.0, "the energy");
        assert_close(corrected.drift, pairs.output_error(&to_f64(&w), &w.view()), 1e-11, 0.0, "the drift");
        // The least error that any weight has is that of the corrected one, and one more computation gives it.
        let least = pairs.output_error(&to_f64(&w), &corrected.weight.view());
        assert_close(corrected.irreducible, least, 1e-6, 0.0, "the irreducible part");
        for (seed, step) in [(1, 1.0), (2, 0.1), (3, 1e-3)] {
            let mut replaced = weight(rows, inputs, seed);
            replaced.zip_mut_with(&w, |r, &w| *r = w + step * *r);
            let found = moments.output_error(&w, &replaced.view()).expect("sound");
            assert_close(found, pairs.output_error(&to_f64(&w), &replaced.view()), 1e-11, 0.0, "the error");
            assert!(found >= least * (1.0 - 1e-9));
            let rest = coupled::quadratic_form(&to_f64(&(&corrected.weight - &replaced)), &pairs.hessian());
            assert_close(found, rest / corrected.energy + corrected.irreducible, 1e-5, 0.0, "the sum of both parts");
        }
    }
}

#[test]
fn nothing_to_correct_leaves_the_bits() {
    let pairs = Pairs::drifting(200, 20, 0.3, 15);
    let mut w = weight(20, 20, 16).mapv(f64::from);
    w[[0, 0]] = -0.0;
    w[[1, 3]] = 0.0;
    w[[2, 5]] = 1e-42;
    let equal = Pairs { dense: pairs.compressed.clone(), compressed: pairs.compressed.clone() };
    fn check<T: Element>(moments: &PairMoments, options: CorrectionOptions, weight: &ArrayView2<'_, T>) -> f64 {
        let corrected = moments.correct(Weight::from(weight.view()), &options).expect("sound");
        assert_eq!(bits(&corrected.weight), bits(&weight.mapv(|x| x.to_f64() as f32)));
        corrected.irreducible
    }
    for (moments, options) in [
        (moments(&pairs), options(0.0, 0.01)),
        (moments(&pairs), options(0.0, 0.0)),
        (moments(&equal), options(1.0, 0.01)),
        (moments(&equal), options(1.0, 0.0)),
    ] {
        let irreducible = [
            check(&moments, options, &w.mapv(|x| x as f32).view()),
            check(&moments, options, &w.view()),
            check(&moments, options, &w.mapv(f16::from_f64).view()),
            check(&moments, options, &w.mapv(bf16::from_f64).t()),
        ];
        let expected = options.strength == 1.0;
        assert!(irreducible.iter().all(|&part| (part == 0.0) == expected), "{irreducible:?}");
    }
}

#[test]
fn dead_inputs_keep_their_weights() {
    let mut pairs = Pairs::drifting(300, 12, 0.3, 17);
    pairs.compressed.column_mut(4).fill(0.0);
    // Dead in both models, and dead in the dense one alone.
    pairs.compressed.column_mut(7).fill(0.0);
    pairs.dense.column_mut(7).fill(0.0);
    pairs.dense.column_mut(9).fill(0.0);
    let moments = moments(&pairs);
    assert_eq!(moments.hessian().dead_inputs(), 2);
    let w = weight(6, 12, 18);
    for ridge in [0.0, 0.01] {
        let corrected = moments.correct(&w, &options(1.0, ridge)).expect("sound");
        assert_eq!(corrected.ridge, ridge, "a dead input needs no ridge");
        for j in 0..12 {
            let same = corrected.weight.column(j) == w.column(j);
            assert_eq!(same, j == 4 || j == 7, "column {j}");
        }
        let drift = pairs.output_error(&to_f64(&w), &w.view());
        assert_close(corrected.drift, drift, 1e-5, 0.0, "the drift");
        assert!(moments.output_error(&w, &corrected.weight.view()).expect("sound") < drift);
    }
    pairs.compressed.fill(0.0);
    let corrected = self::moments(&pairs).correct(&w, &CorrectionOptions::default()).expect("sound");
    assert_eq!(bits(&corrected.weight), bits(&w));
    assert_close(corrected.irreducible, 1.0, 1e-6, 0.0, "all of the output");
}

#[test]
fn fewer_tokens_than_inputs() {
    for tokens in [1, 5, 39] {
        let pairs = Pairs::drifting(tokens, 40, 0.3, 19);
        let moments = moments(&pairs);
        let w = weight(10, 40, 20);
        for ridge in [0.0, 1e-9, 0.01] {
            let corrected = moments.correct(&w, &options(1.0, ridge)).expect("sound");
            assert!(corrected.ridge >= ridge.max(1e-7) && corrected.ridge <= ridge.max(1e-4), "{}", corrected.ridge);
            // Some weight fits every token, as there are fewer than inputs.
            assert!(corrected.irreducible < 1e-5, "{tokens} tokens: {:e}", corrected.irreducible);
            let error = pairs.output_error(&to_f64(&w), &corrected.weight.view());
            assert!(error < 0.1 * corrected.drift, "{tokens} tokens, λ = {ridge}: {error:e} of {:e}", corrected.drift);
            let expected = pairs.corrected(&to_f64(&w), 1.0, corrected.ridge);
            let change = &to_f64(&corrected.weight) - &to_f64(&w);
            let off = &to_f64(&corrected.weight) - &expected;
            if ridge == 0.01 {
                assert!(common::squares(&off) <= 1e-8 * common::squares(&change), "{tokens} tokens");
            }
        }
    }
}

#[test]
fn extreme_magnitudes() {
    let base = Pairs::drifting(256, 6, 0.3, 21);
    let w = weight(4, 6, 22);
    let expected = moments(&base).correct(&w, &CorrectionOptions::default()).expect("sound");
    for scale in [1e-15, 1e-7, 1e7, 1e15] {
        let scaled = |values: &Array2<f32>| values.mapv(|x| (f64::from(x) * scale) as f32);
        let pairs = Pairs { dense: scaled(&base.dense), compressed: scaled(&base.compressed) };
        let found = moments(&pairs).correct(&w, &CorrectionOptions::default()).expect("sound");
        assert_close(found.energy / scale.powi(2), expected.energy, 1e-5, 0.0, "the energy");
        for (found, expected) in found.weight.iter().zip(&expected.weight) {
            assert!((found - expected).abs() <= 1e-4 * expected.abs().max(0.1), "{scale}: {found} is not {expected}");
        }
    }
    let largest = Pairs { dense: Array2::from_elem((300, 3), 5e17), compressed: Array2::from_elem((300, 3), -5e17) };
    let found = moments(&largest).correct(&weight(2, 3, 1), &CorrectionOptions::default()).expect("in range");
    assert!(found.energy.is_finite() && found.weight.iter().all(|x| x.is_finite()));
    assert_close(found.drift, 4.0, 1e-5, 0.0, "the drift of inputs of the other sign");
}

/// Pairs whose inputs the compressed model shrinks to a third.
fn thirds() -> Pairs {
    let compressed = Pairs::whole(64, 4, 23).compressed;
    Pairs { dense: compressed.mapv(|x| 3.0 * x), compressed }
}

#[test]
fn a_corrected_weight_beyond_f32_is_refused() {
    let mut w = Array2::from_elem((70, 4), 1.0_f32);
    w[[66, 2]] = -3e38;
    let error = moments(&thirds()).correct(&w, &options(1.0, 0.0)).expect_err("beyond f32");
    assert_eq!(error.to_string(), "weight: entry [66, 2] is -inf, beyond the range of f32");
}

#[test]
fn weights_without_outputs() {
    let moments = moments(&thirds());
    let zero = Array2::<f32>::zeros((3, 4));
    let corrected = moments.correct(&zero, &CorrectionOptions::default()).expect("sound");
    assert_eq!((corrected.energy, corrected.drift, corrected.irreducible), (0.0, 0.0, 0.0));
    assert_eq!(moments.output_error(&zero, &zero.view()), Ok(0.0));
    assert_eq!(moments.output_error(&zero, &weight(3, 4, 1).view()), Ok(f64::INFINITY));
}

/// Sums are what is left as it was, with the count.
#[track_caller]
fn assert_refused(accumulator: &mut PairAccumulator, dense: &Array2<f64>, compressed: &Array2<f64>, message: &str) {
    let before = accumulator.clone();
    let error = accumulator.add(dense, compressed).expect_err(message);
    assert_eq!(error.to_string(), message);
    assert_eq!(*accumulator, before, "{message}: something was added");
}

#[test]
fn activations_are_refused_with_the_first_position() {
    let pairs = Pairs::drifting(300, 70, 0.2, 9);
    let (dense, compressed) = (to_f64(&pairs.dense), to_f64(&pairs.compressed));
    let mut accumulator = accumulated(&pairs);
    for (bad, shown) in [(f64::NAN, "NaN"), (f64::NEG_INFINITY, "-inf"), (6e17, "600000000000000000")] {
        for (token, input) in [(0, 0), (0, 69), (123, 45), (299, 69)] {
            let damage = |values: &Array2<f64>| {
                let mut damaged = values.clone();
                damaged[[299, 69]] = f64::NAN;
                damaged[[token, input]] = bad;
                damaged
            };
            let of = |argument: &str| {
                format!("{argument}: entry [{token}, {input}] is {shown}, expected a number within ±5e17")
            };
            assert_refused(&mut accumulator, &damage(&dense), &compressed, &of("dense"));
            assert_refused(&mut accumulator, &dense, &damage(&compressed), &of("compressed"));
            assert_refused(&mut accumulator, &damage(&dense), &damage(&compressed), &of("dense"));
        }
    }
    let (narrow, short) = (dense.slice(s![.., 1..]).to_owned(), dense.slice(s![1.., ..]).to_owned());
    assert_refused(&mut accumulator, &narrow, &compressed, "dense: covers 69 inputs, expected 70");
    assert_refused(&mut accumulator, &dense, &narrow, "compressed: covers 69 inputs, expected 70");
    assert_refused(&mut accumulator, &dense, &short, "compressed: has 299 tokens, expected 300");
    assert_refused(&mut accumulator, &short, &dense, "compressed: has 300 tokens, expected 299");
    let before = accumulator.clone();
    let error = accumulator.merge(&PairAccumulator::new(69)).expect_err("another size");
    assert_eq!((error.to_string().as_str(), &accumulator), ("other: covers 69 inputs, expected 70", &before));
}

#[test]
fn no_tokens_have_no_mean() {
    let mut accumulator = PairAccumulator::new(3);
    assert_eq!(accumulator.moments(), Err(Error::NoTokens));
    let none = Array2::<f32>::zeros((0, 3));
    accumulator.add(&none, &none).expect("no tokens are fine");
    assert_eq!((accumulator.moments(), accumulator.tokens()), (Err(Error::NoTokens), 0));
    let mut accumulator = PairAccumulator::new(0);
    let none = Array2::<f32>::zeros((5, 0));
    accumulator.add(&none, &none).expect("no inputs are fine");
    assert_eq!(accumulator.moments().expect("five tokens").inputs(), 0);
}

#[test]
fn wrong_arguments_of_a_correction() {
    let moments = moments(&thirds());
    let w = weight(5, 4, 1);
    let refused = |weight: &Array2<f32>, options: CorrectionOptions, message: &str| {
        assert_eq!(moments.correct(weight, &options).expect_err(message).to_string(), message);
    };
    for (strength, shown) in [(-0.1, "-0.1"), (1.5, "1.5"), (f64::NAN, "NaN"), (f64::INFINITY, "inf")] {
        refused(&w, options(strength, 0.0), &format!("option strength: {shown} is out of range, expected 0 to 1"));
    }
    for (ridge, shown) in [(-1e-9, "-0.000000001"), (1000001.0, "1000001"), (f64::NAN, "NaN")] {
        refused(&w, options(1.0, ridge), &format!("option ridge: {shown} is out of range, expected 0 to 1e6"));
    }
    let inputs = "hessian: covers 4 inputs, but the weight has 3 columns";
    refused(&weight(5, 3, 1), CorrectionOptions::default(), inputs);
    refused(&Array2::zeros((0, 4)), CorrectionOptions::default(), "weight: 0 × 4 has no entries");
    let mut damaged = w.clone();
    damaged[[3, 1]] = f32::NAN;
    let message = "weight: entry [3, 1] is NaN, expected a finite f32 number";
    refused(&damaged, CorrectionOptions::default(), message);

    let refused = |weight: &Array2<f32>, compressed: &Array2<f32>, message: &str| {
        let error = moments.output_error(weight, &compressed.view()).expect_err(message);
        assert_eq!(error.to_string(), message);
    };
    refused(&weight(5, 3, 1), &w, inputs);
    refused(&damaged, &w, message);
    refused(&w, &damaged, "compressed: entry [3, 1] is NaN, expected a finite f32 number");
    refused(&w, &weight(6, 4, 1), "rows of compressed: has length 6, expected 5");
    refused(&w, &weight(5, 8, 1), "columns of compressed: has length 8, expected 4");
}

#[test]
fn a_corrected_weight_is_the_better_start() {
    let (calibration, held_out) = (Pairs::drifting(2048, 64, 0.5, 31), Pairs::drifting(2048, 64, 0.5, 32));
    let w = weight(48, 64, 33);
    let [moments, others] = [&calibration, &held_out].map(moments);
    let corrected = moments.correct(&w, &CorrectionOptions::default()).expect("sound");
    assert!(corrected.irreducible < 0.5 * corrected.drift, "the drift can be made up for");
    let options = Options::exact().block(16).iterations(30).objective(Objective::Full);
    let [before, after] = [&w, &corrected.weight].map(|start| {
        let layer = Layer::new(start, moments.hessian().clone()).expect("sound");
        factorize(&layer, &options).expect("runs").reconstruct()
    });
    for (moments, pairs) in [(&moments, &calibration), (&others, &held_out)] {
        let [before, after] = [&before, &after].map(|replaced| {
            let error = moments.output_error(&w, &replaced.view()).expect("sound");
            assert_close(error, pairs.output_error(&to_f64(&w), &replaced.view()), 1e-4, 1e-6, "the error");
            error
        });
        assert!(after < 0.9 * before, "{after} after a correction, {before} without");
        assert!(after >= corrected.irreducible * 0.9, "{after} is below what can be reached");
    }
}

#[cfg(feature = "safetensors")]
mod bytes {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn sample() -> PairAccumulator {
        accumulated(&Pairs::drifting(11, 3, 0.2, 1))
    }

    /// Splits a file into its header and its sums.
    fn parts(bytes: &[u8]) -> (Value, Vec<u8>) {
        let len = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
        (serde_json::from_slice(&bytes[8..8 + len]).expect("JSON"), bytes[8 + len..].to_vec())
    }

    #[test]
    fn the_sums_are_those_of_the_stacked_inputs() {
        for inputs in SIZES {
            let pairs = Pairs::drifting(129, inputs, 0.2, 3);
            let (_, data) = parts(&accumulated(&pairs).to_safetensors("a").expect("fits"));
            let expected = pairs.stacked();
            let sums = data.chunks_exact(8).map(|chunk| f64::from_le_bytes(chunk.try_into().expect("eight bytes")));
            let positions = (0..2 * inputs).flat_map(|i| (0..=i).map(move |j| (i, j)));
            assert_eq!(sums.len(), inputs * (2 * inputs + 1));
            for ((i, j), sum) in positions.zip(sums) {
                let scale = (expected[[i, i]] * expected[[j, j]]).sqrt();
                let off = (sum / 129.0 - expected[[i, j]]).abs();
                assert!(off <= 1e-6 * scale, "{inputs} inputs: {sum} at [{i}, {j}] is not {}", expected[[i, j]]);
            }
        }
    }

    #[test]
    fn they_come_back_as_they_went_and_go_on() {
        for inputs in [0, 1, 6, 96, 125] {
            let mut accumulator = PairAccumulator::new(inputs);
            for tokens in [0, 40] {
                let batch = Pairs::drifting(tokens, inputs, 0.2, 1);
                accumulator.add(&batch.dense, &batch.compressed).expect("finite");
                let bytes = accumulator.to_safetensors("a.b").expect("fits");
                assert_eq!(accumulator.clone().to_safetensors("a.b").expect("fits"), bytes);
                let mut read = PairAccumulator::from_safetensors(&bytes, "a.b").expect("sound");
                assert_eq!(read, accumulator);
                assert_eq!(read.to_safetensors("a.b").expect("fits"), bytes);
                let more = Pairs::drifting(5, inputs, 0.2, 2);
                let mut expected = accumulator.clone();
                expected.add(&more.dense, &more.compressed).expect("finite");
                read.add(&more.dense, &more.compressed).expect("finite");
                assert_eq!(read, expected);
            }
        }
    }

    #[test]
    fn every_shortened_file_is_refused() {
        let bytes = sample().to_safetensors("layer").expect("fits");
        for len in 0..bytes.len() {
            let error = PairAccumulator::from_safetensors(&bytes[..len], "layer").expect_err("cut off");
            assert!(matches!(&error, Error::Bytes { key, .. } if key == "header"), "{len}: {error}");
        }
    }

    /// Reads a sound file after a change of its header and its sums.
    fn changed(change: impl FnOnce(&mut Value, &mut Vec<u8>)) -> Result<PairAccumulator, Error> {
        let (mut header, mut data) = parts(&sample().to_safetensors("layer").expect("fits"));
        change(&mut header, &mut data);
        let header = header.to_string();
        let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat();
        PairAccumulator::from_safetensors(&bytes, "layer")
    }

    #[track_caller]
    fn refused(change: impl FnOnce(&mut Value, &mut Vec<u8>), message: &str) {
        assert_eq!(changed(change).expect_err(message).to_string(), format!("bytes: {message}"));
    }

    #[test]
    fn what_no_accumulator_has() {
        let meta = |key: &'static str, value: &'static str| {
            move |header: &mut Value, _: &mut Vec<u8>| header["__metadata__"][key] = json!(value)
        };
        let sum = |index: usize, value: f64| {
            move |_: &mut Value, data: &mut Vec<u8>| data[8 * index..][..8].copy_from_slice(&value.to_le_bytes())
        };
        let key = "layer.armor.pairs.sums";
        refused(meta("armor.inputs", "2"), &format!("{key}: has shape [21], expected [10]"));
        let vast = "18446744073709551615";
        refused(meta("armor.inputs", vast), &format!("armor.inputs: is {vast}, more than can be addressed"));
        let vast = "4294967296";
        refused(meta("armor.inputs", vast), &format!("armor.inputs: is {vast}, more than can be addressed"));
        refused(meta("armor.tokens", "9007199254740993"), "armor.tokens: is 9007199254740993, more than 2⁵³");
        refused(sum(4, f64::NAN), &format!("{key}: entry 4 is NaN, expected a finite number whose mean fits f32"));
        refused(sum(20, -0.5), &format!("{key}: entry 20 is -0.5, expected a sum of squares, not negative"));
        let bound = "expected no more than its row's and column's sums of squares allow";
        refused(sum(1, 1e6), &format!("{key}: entry 1 is 1000000, {bound}"));
        let other = armor_core::HessianAccumulator::new(3, armor_core::HessianKind::Full);
        let error = PairAccumulator::from_safetensors(&other.to_safetensors("layer").expect("fits"), "layer");
        assert_eq!(error.expect_err("another file").to_string(), format!("bytes: {key}: no such tensor"));
    }

    #[test]
    fn sums_that_no_inputs_have_are_refused_by_the_correction() {
        // Every two of six inputs are each other's negative: no entry alone is wrong.
        let size = 12;
        let read = changed(|header, data| {
            header["__metadata__"]["armor.inputs"] = json!("6");
            header["layer.armor.pairs.sums"]["shape"] = json!([78]);
            header["layer.armor.pairs.sums"]["data_offsets"] = json!([0, 624]);
            let entry = |i: usize, j: usize| match (i, j) {
                _ if i == j => 11.0,
                (6.., 6..) => -11.0,
                _ => 0.0,
            };
            *data = (0..size).flat_map(|i| (0..=i).flat_map(move |j| f64::to_le_bytes(entry(i, j)))).collect();
        });
        let moments = read.expect("no entry is wrong").moments().expect("tokens");
        let error = moments.correct(&weight(2, 6, 1), &CorrectionOptions::default()).expect_err("indefinite");
        let message = "hessian: has no Cholesky factorisation even with a ridge of 1 times the mean of its diagonal";
        assert_eq!(error.to_string(), message);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        /// Damage is refused, or is a change of value that leaves the file sound; it never panics.
        #[test]
        fn damage_never_panics(at in any::<prop::sample::Index>(), bit in 0..8_u32) {
            let mut bytes = sample().to_safetensors("layer").expect("fits");
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            match PairAccumulator::from_safetensors(&bytes, "layer") {
                Ok(mut read) => {
                    let none = Array2::<f32>::zeros((1, read.inputs()));
                    prop_assert!(read.add(&none, &none).is_ok());
                    if let Ok(moments) = read.moments() {
                        drop(moments.correct(&weight(2, read.inputs(), 1), &CorrectionOptions::default()));
                    }
                }
                Err(error) => prop_assert!(matches!(error, Error::Bytes { .. }), "{}", error),
            }
        }
    }
}
