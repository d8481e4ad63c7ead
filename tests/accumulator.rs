//! The accumulated Hessian is the mean of x xᵀ: by an f64 twin, however it was cut, merged, saved or spread on threads.

mod common;

use armor_core::{Element, Error, HessianAccumulator, HessianKind};
use common::{Mat, Random};
use half::{bf16, f16};
use ndarray::{Array2, ArrayView2, Axis, ShapeBuilder, s};
use rayon::ThreadPoolBuilder;

/// Around the lanes, the strips and the tiles, below one and above.
const SIZES: [usize; 14] = [1, 2, 4, 15, 16, 17, 63, 64, 65, 191, 192, 193, 257, 385];

/// Inputs of different strength, some with a mean.
fn activations(tokens: usize, inputs: usize, seed: u64) -> Array2<f32> {
    let mut random = Random::new(seed);
    let scales: Vec<f64> = (0..inputs).map(|_| random.normal().exp()).collect();
    Array2::from_shape_fn((tokens, inputs), |(_, j)| (scales[j] * (random.normal() + (j % 3) as f64)) as f32)
}

/// (1/N) Σ x xᵀ in f64.
fn twin<T: Element>(activations: &ArrayView2<'_, T>) -> Mat {
    let x = activations.mapv(T::to_f64);
    x.t().dot(&x) / activations.nrows() as f64
}

fn both(inputs: usize) -> [HessianAccumulator; 2] {
    [HessianAccumulator::new(inputs, HessianKind::Diagonal), HessianAccumulator::new(inputs, HessianKind::Full)]
}

/// Every entry within 10⁻⁶ of √(H_ii H_jj).
#[track_caller]
fn assert_mean(accumulator: &HessianAccumulator, expected: &Mat, what: &str) {
    let hessian = accumulator.hessian().expect("tokens were added");
    assert_eq!(hessian.kind() == HessianKind::Full, accumulator.kind() == HessianKind::Full);
    for (i, &d) in hessian.diagonal().iter().enumerate() {
        assert!(
            (d - expected[[i, i]]).abs() <= 1e-6 * expected[[i, i]],
            "{what}: {d} at {i} is not {}",
            expected[[i, i]]
        );
        for (j, &entry) in hessian.row(i).into_iter().flatten().enumerate() {
            let scale = (expected[[i, i]] * expected[[j, j]]).sqrt();
            let off = (f64::from(entry) - expected[[i, j]]).abs();
            assert!(off <= 1e-6 * scale, "{what}: {entry} at [{i}, {j}] is not {}", expected[[i, j]]);
        }
    }
}

fn bits(accumulator: &HessianAccumulator) -> Vec<u64> {
    let hessian = accumulator.hessian().expect("tokens were added");
    let diagonal = hessian.diagonal().iter().map(|x| x.to_bits());
    let rows = (0..hessian.len()).flat_map(|i| hessian.row(i).into_iter().flatten()).map(|x| x.to_bits().into());
    diagonal.chain(rows).collect()
}

#[test]
fn equal_to_the_f64_twin_at_every_edge() {
    for inputs in SIZES {
        for tokens in [1, 2, 3, 127, 128, 129, 300] {
            let x = activations(tokens, inputs, 1);
            for mut accumulator in both(inputs) {
                accumulator.add(&x).expect("finite");
                assert_eq!((accumulator.tokens(), accumulator.inputs()), (tokens as u64, inputs));
                assert_mean(&accumulator, &twin(&x.view()), &format!("{tokens} × {inputs}"));
            }
        }
    }
}

#[test]
fn ragged_batches_are_one_text() {
    for inputs in [5, 65, 200] {
        let x = activations(1000, inputs, 2);
        for mut accumulator in both(inputs) {
            let mut start = 0;
            for tokens in [0, 1, 7, 128, 129, 0, 500, 1, 234] {
                accumulator.add(&x.slice(s![start..start + tokens, ..])).expect("finite");
                start += tokens;
                assert_eq!(accumulator.tokens(), start as u64);
            }
            assert_mean(&accumulator, &twin(&x.view()), &format!("{inputs} inputs"));
        }
    }
}

#[test]
fn more_than_the_scratch_holds() {
    // 4 Mi numbers a pass: three passes, the last one ragged.
    let x = activations(4800, 2000, 3);
    let narrow = x.slice(s![.., ..4]);
    let mut accumulator = HessianAccumulator::new(2000, HessianKind::Full);
    accumulator.add(&x).expect("finite");
    let hessian = accumulator.hessian().expect("tokens");
    let expected = x.mapv(f64::from).t().dot(&narrow.mapv(f64::from)) / 4800.0;
    for ((i, j), &expected) in expected.indexed_iter() {
        let scale = (hessian.diagonal()[i] * hessian.diagonal()[j]).sqrt();
        let entry = f64::from(hessian.row(i).expect("full")[j]);
        assert!((entry - expected).abs() <= 1e-6 * scale, "{entry} at [{i}, {j}] is not {expected}");
    }
}

#[test]
fn a_million_tokens_of_bf16() {
    const INPUTS: usize = 24;
    let mut random = Random::new(4);
    // Also a constant, a rare one, and one that hardly varies.
    let mut token = |_| -> [bf16; INPUTS] {
        std::array::from_fn(|j| {
            let x = random.uniform() - 0.3;
            bf16::from_f64(match j {
                0 => 1.7,
                1 => f64::from(u8::from(x > 0.69)),
                2 => 40.0 + x,
                _ => x * (j * j) as f64,
            })
        })
    };
    let mut accumulators = both(INPUTS);
    let mut sums = Mat::zeros((INPUTS, INPUTS));
    for _ in 0..250 {
        let batch = Array2::from(Vec::from_iter((0..4000).map(&mut token)));
        for accumulator in &mut accumulators {
            accumulator.add(&batch).expect("finite");
        }
        sums += &twin(&batch.view());
    }
    for accumulator in &accumulators {
        assert_eq!(accumulator.tokens(), 1_000_000);
        assert_mean(accumulator, &(&sums / 250.0), "a million tokens");
    }
}

#[test]
fn a_constant_input_is_the_worst_case() {
    // The bound that the documentation gives; the diagonal alone is exact.
    for value in (0..400).map(|i| 1.0 + 0.007_531 * i as f32) {
        let x = Array2::from_elem((12_800, 1), value);
        let expected = f64::from(value).powi(2);
        for (mut accumulator, most) in both(1).into_iter().zip([1e-12, 3e-6]) {
            accumulator.add(&x).expect("finite");
            let found = accumulator.hessian().expect("tokens").diagonal()[0];
            assert!((found - expected).abs() <= most * expected, "{found} is not {expected}");
        }
    }
}

#[test]
fn every_element_type_and_stride() {
    let x = activations(70, 66, 5).mapv(|x| bf16::from_f32(f16::from_f32(x).to_f32()));
    let half = x.mapv(|x| f16::from_f32(x.to_f32()));
    let single = half.mapv(f16::to_f32);
    let x = half.mapv(|x| bf16::from_f32(x.to_f32()));
    let double = single.mapv(f64::from);
    for mut expected in both(66) {
        let empty = expected.clone();
        expected.add(&single).expect("finite");
        let expect = |found: HessianAccumulator, what: &str| assert_eq!(bits(&found), bits(&expected), "{what}");
        let of = |add: &dyn Fn(&mut HessianAccumulator) -> Result<(), Error>| {
            let mut found = empty.clone();
            add(&mut found).expect("finite");
            found
        };
        expect(of(&|a| a.add(&x)), "bf16");
        expect(of(&|a| a.add(&half)), "f16");
        expect(of(&|a| a.add(&double)), "f64");
        let mut columns = Array2::from_elem((70, 66).f(), bf16::ZERO);
        columns.assign(&x);
        expect(of(&|a| a.add(&columns)), "column-major");
        let wide =
            Array2::from_shape_fn(
                (140, 132),
                |(i, j)| {
                    if i % 2 == 0 && j % 2 == 1 { single[[i / 2, j / 2]] } else { f32::NAN }
                },
            );
        expect(of(&|a| a.add(&wide.slice(s![..;2, 1..;2]))), "every other row and column");
        let mut reversed = single.clone();
        reversed.invert_axis(Axis(1));
        let mirrored = Array2::from_shape_fn((70, 66), |(i, j)| single[[i, 65 - j]]);
        assert_eq!(reversed, mirrored);
        let (mut by_stride, mut by_copy) = (empty.clone(), empty.clone());
        by_stride.add(&reversed).expect("finite");
        by_copy.add(&mirrored).expect("finite");
        assert_eq!(by_stride, by_copy, "negative strides");
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let x = activations(700, 400, 6);
    for empty in both(400) {
        let runs = [1, 2, 8].map(|threads| {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
            let mut accumulator = empty.clone();
            pool.install(|| accumulator.add(&x)).expect("finite");
            accumulator.add(&x).expect("finite");
            accumulator
        });
        assert_eq!(bits(&runs[0]), bits(&runs[1]));
        assert_eq!(bits(&runs[0]), bits(&runs[2]));
        assert_eq!(runs[0], runs[1]);
    }
}

#[test]
fn the_order_of_merging_is_rounding() {
    let x = activations(900, 70, 7);
    let cuts = [0, 130, 131, 500, 900];
    for empty in both(70) {
        let parts: Vec<HessianAccumulator> = cuts
            .windows(2)
            .map(|cut| {
                let mut part = empty.clone();
                part.add(&x.slice(s![cut[0]..cut[1], ..])).expect("finite");
                part
            })
            .collect();
        for order in [[0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]] {
            let mut whole = empty.clone();
            for part in order {
                whole.merge(&parts[part]).expect("of one kind");
            }
            whole.merge(&empty).expect("of one kind");
            assert_eq!(whole.tokens(), 900);
            assert_mean(&whole, &twin(&x.view()), &format!("order {order:?}"));
        }
    }
}

#[test]
fn inputs_that_are_never_excited_stay_zero() {
    let mut x = activations(50, 6, 8);
    x.column_mut(2).fill(0.0);
    let mut accumulator = HessianAccumulator::new(6, HessianKind::Full);
    accumulator.add(&x).expect("finite");
    let hessian = accumulator.hessian().expect("tokens");
    assert_eq!(hessian.diagonal()[2], 0.0);
    assert_eq!(hessian.row(2), Some(&[0.0; 6][..]));
}

/// Sums are what is left as it was, with the count.
#[track_caller]
fn assert_refused(accumulator: &mut HessianAccumulator, x: &Array2<f64>, message: &str) {
    let before = accumulator.clone();
    let error = accumulator.add(x).expect_err(message);
    assert_eq!(error.to_string(), message);
    assert_eq!(*accumulator, before, "{message}: something was added");
}

#[test]
fn refused_with_the_first_position_and_nothing_added() {
    let x = activations(300, 70, 9).mapv(f64::from);
    for mut accumulator in both(70) {
        accumulator.add(&x).expect("finite");
        for (bad, shown) in [
            (f64::NAN, "NaN"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (1e39, "1000000000000000000000000000000000000000"),
            (-2e18, "-2000000000000000000"),
        ] {
            for (token, input) in [(0, 0), (0, 69), (299, 69), (123, 45)] {
                let mut damaged = x.clone();
                damaged[[token, input]] = bad;
                damaged[[299, 69]] = if (token, input) == (299, 69) { bad } else { f64::NAN };
                assert_refused(
                    &mut accumulator,
                    &damaged,
                    &format!("activations: entry [{token}, {input}] is {shown}, expected a number within ±1e18"),
                );
            }
        }
        let narrow = x.slice(s![.., 1..]).to_owned();
        assert_refused(&mut accumulator, &narrow, "activations: covers 69 inputs, expected 70");
    }
    let large = Array2::from_elem((300, 3), 1e18_f32);
    for mut accumulator in both(3) {
        accumulator.add(&large).expect("in range");
        let hessian = accumulator.hessian().expect("finite");
        let first = hessian.diagonal()[0] / hessian.scale();
        assert!((first / 1e36 - 1.0).abs() < 3e-6, "{first}");
    }
}

#[test]
fn accumulators_that_do_not_match() {
    let [mut diagonal, mut full] = both(4);
    diagonal.add(&activations(3, 4, 1)).expect("finite");
    full.add(&activations(3, 4, 1)).expect("finite");
    let refused = |into: &mut HessianAccumulator, from: &HessianAccumulator, message: &str| {
        let before = into.clone();
        assert_eq!(into.merge(from).expect_err(message).to_string(), message);
        assert_eq!(*into, before);
    };
    refused(&mut diagonal.clone(), &full, "other: accumulates the whole matrix, expected the diagonal");
    refused(&mut full.clone(), &diagonal, "other: accumulates the diagonal, expected the whole matrix");
    refused(&mut full, &HessianAccumulator::new(5, HessianKind::Full), "other: covers 5 inputs, expected 4");
    refused(&mut diagonal, &HessianAccumulator::new(0, HessianKind::Diagonal), "other: covers 0 inputs, expected 4");
}

#[test]
fn no_tokens_have_no_mean() {
    for mut accumulator in both(3) {
        assert_eq!(accumulator.hessian(), Err(Error::NoTokens));
        accumulator.add(&Array2::<f32>::zeros((0, 3))).expect("no tokens are fine");
        assert_eq!((accumulator.hessian(), accumulator.tokens()), (Err(Error::NoTokens), 0));
    }
    for mut accumulator in both(0) {
        accumulator.add(&Array2::<f32>::zeros((5, 0))).expect("no inputs are fine");
        assert!(accumulator.hessian().expect("five tokens").is_empty());
    }
}

#[cfg(feature = "safetensors")]
mod bytes {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn sample(full: bool) -> HessianAccumulator {
        let [diagonal, whole] = both(6);
        let mut accumulator = if full { whole } else { diagonal };
        accumulator.add(&activations(11, 6, 1)).expect("finite");
        accumulator
    }

    #[test]
    fn they_come_back_as_they_went_and_go_on() {
        for inputs in [0, 1, 6, 192, 250] {
            for mut accumulator in both(inputs) {
                for tokens in [0, 40] {
                    accumulator.add(&activations(tokens, inputs, 1)).expect("finite");
                    let bytes = accumulator.to_safetensors("a.b").expect("fits");
                    assert_eq!(accumulator.clone().to_safetensors("a.b").expect("fits"), bytes);
                    let mut read = HessianAccumulator::from_safetensors(&bytes, "a.b").expect("sound");
                    assert_eq!(read, accumulator);
                    assert_eq!(read.to_safetensors("a.b").expect("fits"), bytes);
                    let more = activations(5, inputs, 2);
                    let mut expected = accumulator.clone();
                    expected.add(&more).expect("finite");
                    read.add(&more).expect("finite");
                    assert_eq!(read, expected);
                }
            }
        }
    }

    #[test]
    fn every_shortened_file_is_refused() {
        for full in [false, true] {
            let bytes = sample(full).to_safetensors("layer").expect("fits");
            for len in 0..bytes.len() {
                let error = HessianAccumulator::from_safetensors(&bytes[..len], "layer").expect_err("cut off");
                assert!(matches!(&error, Error::Bytes { key, .. } if key == "header"), "{len}: {error}");
            }
        }
    }

    /// Changes the header and the sums of a sound file.
    #[track_caller]
    fn refused(full: bool, change: impl FnOnce(&mut Value, &mut [u8]), message: &str) {
        let bytes = sample(full).to_safetensors("layer").expect("fits");
        let len = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
        let mut header: Value = serde_json::from_slice(&bytes[8..8 + len]).expect("JSON");
        let mut data = bytes[8 + len..].to_vec();
        change(&mut header, &mut data);
        let header = header.to_string();
        let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat();
        let error = HessianAccumulator::from_safetensors(&bytes, "layer").expect_err(message);
        assert_eq!(error.to_string(), format!("bytes: {message}"));
    }

    #[test]
    fn what_no_accumulator_has() {
        let meta = |key: &'static str, value: &'static str| {
            move |header: &mut Value, _: &mut [u8]| header["__metadata__"][key] = json!(value)
        };
        let sum = |index: usize, value: f64| {
            move |_: &mut Value, data: &mut [u8]| data[8 * index..][..8].copy_from_slice(&value.to_le_bytes())
        };
        let key = "layer.armor.hessian.sums";
        let this = concat!("armor-core ", env!("CARGO_PKG_VERSION"));
        let reads = format!("this version, {this}, reads format 2 only");
        refused(true, meta("armor.format", "3"), &format!("armor.format: is \"3\", written by {this}; {reads}"));
        refused(true, meta("armor.hessian", "half"), "armor.hessian: is \"half\", expected diagonal or full");
        refused(true, meta("armor.hessian", "diagonal"), &format!("{key}: has shape [21], expected [6]"));
        refused(false, meta("armor.hessian", "full"), &format!("{key}: has shape [6], expected [21]"));
        refused(true, meta("armor.inputs", "5"), &format!("{key}: has shape [21], expected [15]"));
        let vast = "18446744073709551615";
        refused(true, meta("armor.inputs", vast), &format!("armor.inputs: is {vast}, more than can be addressed"));
        refused(false, meta("armor.inputs", vast), &format!("{key}: has shape [6], expected [{vast}]"));
        refused(true, meta("armor.tokens", "9007199254740993"), "armor.tokens: is 9007199254740993, more than 2⁵³");
        refused(true, meta("armor.tokens", "-1"), "armor.tokens: \"-1\": invalid digit found in string");
        let without = |header: &mut Value, _: &mut [u8]| {
            drop(header["__metadata__"].as_object_mut().expect("an object").remove("armor.tokens"));
        };
        refused(true, without, "armor.tokens: no such metadata");
        refused(true, |header, _| header[key]["dtype"] = json!("I64"), &format!("{key}: is I64, expected F64"));
        let finite = "expected a finite number whose mean fits f32";
        refused(true, sum(4, f64::NAN), &format!("{key}: entry 4 is NaN, {finite}"));
        refused(false, sum(5, f64::INFINITY), &format!("{key}: entry 5 is inf, {finite}"));
        let square = "expected a sum of squares, not negative";
        refused(false, sum(3, -1.0), &format!("{key}: entry 3 is -1, {square}"));
        refused(true, sum(5, -0.5), &format!("{key}: entry 5 is -0.5, {square}"));
        refused(true, sum(20, -0.5), &format!("{key}: entry 20 is -0.5, {square}"));
        let tokens = |header: &mut Value, data: &mut [u8]| {
            header["__metadata__"]["armor.tokens"] = json!("0");
            data[..8].copy_from_slice(&3.0_f64.to_le_bytes());
        };
        refused(true, tokens, &format!("{key}: entry 0 is 3, expected 0 as there are no tokens"));
        let another = HessianAccumulator::from_safetensors(&sample(true).to_safetensors("x").expect("fits"), "layer");
        assert_eq!(another.expect_err("another name").to_string(), format!("bytes: {key}: no such tensor"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        /// Damage is refused, or is a change of value that leaves the file sound; it never panics.
        #[test]
        fn damage_never_panics(full in any::<bool>(), at in any::<prop::sample::Index>(), bit in 0..8_u32) {
            let mut bytes = sample(full).to_safetensors("layer").expect("fits");
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            match HessianAccumulator::from_safetensors(&bytes, "layer") {
                Ok(mut read) => {
                    let inputs = read.inputs();
                    prop_assert!(read.add(&Array2::<f32>::zeros((1, inputs))).is_ok());
                    prop_assert_eq!(read.hessian().expect("tokens").len(), inputs);
                }
                Err(error) => prop_assert!(matches!(error, Error::Bytes { .. }), "{}", error),
            }
        }
    }
}
