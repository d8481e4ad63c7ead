//! Every refusal that a caller can reach, with the exact position it names.

mod common;

use armor_core::{
    BoxError, CoreUpdate, Descent, Error, Factorization, Hessian, Layer, MaskSelector, Method, Normalization, Options,
    Pattern, ProxyLoss, State, Step, WrapperUpdate, factorize,
};
use common::weight;
use half::{bf16, f16};
use ndarray::{Array1, Array2, array};
use std::time::Duration;

fn refused(w: &Array2<f32>) -> Error {
    Layer::new(w, Hessian::identity(w.ncols())).expect_err("must be refused")
}

#[test]
fn a_weight_that_is_not_finite() {
    for (value, shown) in [(f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf"), (f32::NAN, "NaN")] {
        let mut w = weight(300, 12, 1);
        w[[299, 0]] = value;
        w[[123, 11]] = f32::NAN;
        w[[123, 7]] = value;
        let error = refused(&w);
        let Error::WeightNotFinite { row: 123, col: 7, value: found } = error else { panic!("{error}") };
        assert_eq!(found.to_bits() << 1 >> 1, f64::from(value).to_bits() << 1 >> 1);
        let text = format!("weight: entry [123, 7] is {shown}, expected a finite f32 number");
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn a_weight_beyond_f32_in_any_type() {
    let wide = array![[1.0, 2.0, f64::from(f32::MAX), -1e300]];
    let error = Layer::new(&wide, Hessian::identity(4)).expect_err("1e300");
    assert_eq!(error, Error::WeightNotFinite { row: 0, col: 3, value: -1e300 });
    let half = Array2::from_shape_fn((2, 4), |(i, j)| if (i, j) == (1, 2) { f16::INFINITY } else { f16::ONE });
    let error = Layer::new(&half, Hessian::identity(4)).expect_err("f16 infinity");
    assert_eq!(error, Error::WeightNotFinite { row: 1, col: 2, value: f64::INFINITY });
    let brain = Array2::from_shape_fn((2, 4), |(i, j)| if (i, j) == (1, 0) { bf16::NEG_INFINITY } else { bf16::MAX });
    let error = Layer::new(&brain, Hessian::identity(4)).expect_err("bf16 infinity");
    assert_eq!(error, Error::WeightNotFinite { row: 1, col: 0, value: f64::NEG_INFINITY });
}

#[test]
fn positions_are_those_of_the_view() {
    let mut w = weight(6, 8, 1);
    w[[5, 6]] = f32::INFINITY;
    let error = Layer::new(w.t(), Hessian::identity(6)).expect_err("transposed");
    assert_eq!(error, Error::WeightNotFinite { row: 6, col: 5, value: f64::INFINITY });
    let reversed = w.slice(ndarray::s![..;-1, ..;-2]);
    assert!(Layer::new(reversed, Hessian::identity(4)).is_ok(), "columns 7, 5, 3, 1 are finite");
    let reversed = w.slice(ndarray::s![..;-1, 2..7;-2]);
    let error = Layer::new(reversed, Hessian::identity(3)).expect_err("reversed");
    assert_eq!(error, Error::WeightNotFinite { row: 0, col: 0, value: f64::INFINITY });
}

#[test]
fn weights_without_entries_or_with_too_many() {
    for (rows, cols) in [(0, 0), (0, 4), (4, 0)] {
        let error = Layer::new(&Array2::<f32>::zeros((rows, cols)), Hessian::identity(cols)).expect_err("empty");
        assert_eq!(error, Error::EmptyWeight { rows, cols });
    }
    let one = [1.0_f32];
    let (rows, cols) = (1_usize << 31, 1_usize << 31);
    let one = ndarray::ArrayView1::from(&one);
    let vast = one.broadcast((rows, cols)).expect("2^62 elements can be viewed, not stored");
    let error = Layer::new(vast, Hessian::identity(4)).expect_err("vast");
    assert_eq!(error, Error::SizeOverflow { rows, cols });
}

#[test]
fn hessians() {
    let not_finite = |index: usize, value: f64| Error::HessianNotFinite { row: index, col: index, value };
    let error = Hessian::from_diagonal(&array![1.0_f32, 0.0, f32::INFINITY, f32::NAN]).expect_err("infinite");
    assert_eq!(error, not_finite(2, f64::INFINITY));
    assert_eq!(Hessian::from_diagonal(&array![1.0, 1e300]).expect_err("beyond f32"), not_finite(1, 1e300));
    let error = Hessian::from_diagonal(&array![1.0_f32, f32::NAN, -1.0]).expect_err("NaN");
    assert!(matches!(error, Error::HessianNotFinite { row: 1, col: 1, value } if value.is_nan()), "{error}");
    assert_eq!(error.to_string(), "hessian: entry [1, 1] is NaN, expected a finite f32 number");
    let error = Hessian::from_diagonal(&array![1.0_f32, 0.0, -0.5, -1.0]).expect_err("negative");
    assert_eq!(error, Error::HessianNegative { index: 2, value: -0.5 });
    let error = Hessian::from_diagonal(&array![f16::ONE, f16::INFINITY]).expect_err("f16");
    assert_eq!(error, not_finite(1, f64::INFINITY));
    assert!(Hessian::from_diagonal(&array![0.0_f32, -0.0]).is_ok());

    let error = Hessian::from_diagonal_of(&Array2::<f32>::ones((3, 4))).expect_err("not square");
    assert_eq!(error, Error::HessianNotSquare { rows: 3, cols: 4 });
    let mut full = Array2::<f64>::ones((4, 4));
    full[[0, 1]] = -7.0;
    assert_eq!(Hessian::from_diagonal_of(&full), Ok(Hessian::identity(4)), "off the diagonal nothing is read");
    full[[3, 3]] = -2.0;
    assert_eq!(
        Hessian::from_diagonal_of(&full).expect_err("negative"),
        Error::HessianNegative { index: 3, value: -2.0 }
    );
    full[[2, 2]] = f64::NEG_INFINITY;
    assert_eq!(Hessian::from_diagonal_of(&full).expect_err("infinite"), not_finite(2, f64::NEG_INFINITY));

    for len in [0, 11, 13] {
        let error = Layer::new(&weight(3, 12, 1), Hessian::identity(len)).expect_err("wrong length");
        assert_eq!(error, Error::HessianLength { len, cols: 12 });
    }
}

#[test]
fn columns_that_the_pattern_does_not_divide() {
    let w = weight(4, 12, 1);
    let layer = Layer::new(&w, Hessian::identity(12)).expect("valid");
    let options = Options::exact().pattern(Pattern::new(4, 8).expect("valid"));
    let error = factorize(&layer, &options).expect_err("12 is not a multiple of 8");
    assert_eq!(error, Error::ColumnsNotMultiple { cols: 12, n: 4, m: 8 });
    let w = weight(4, 13, 1);
    let layer = Layer::new(&w, Hessian::identity(13)).expect("valid");
    let error = factorize(&layer, &Options::paper()).expect_err("13 is not a multiple of 4");
    assert_eq!(error, Error::ColumnsNotMultiple { cols: 13, n: 2, m: 4 });
}

#[test]
fn every_option_out_of_range() {
    let w = weight(4, 8, 1);
    let layer = Layer::new(&w, Hessian::identity(8)).expect("valid");
    let four_eight = Pattern::new(4, 8).expect("valid");
    let exact = Options::exact;
    let cases: Vec<(&str, &str, Options)> = vec![
        ("left_block", "0", exact().left_block(0)),
        ("left_block", "4097", exact().left_block(4097)),
        ("left_block", "0", exact().block(0)),
        ("right_block", "0", exact().right_block(0)),
        ("right_block", "4100", exact().right_block(4100)),
        ("right_block", "6", exact().right_block(6)),
        ("right_block", "12", exact().right_block(12).pattern(four_eight)),
        ("iterations", "0", exact().iterations(0)),
        ("iterations", "10000001", exact().iterations(10_000_001)),
        ("time_budget", "0 s", exact().time_budget(Some(Duration::ZERO))),
        ("tolerance", "-0.1", exact().tolerance(-0.1)),
        ("tolerance", "1", exact().tolerance(1.0)),
        ("tolerance", "NaN", exact().tolerance(f64::NAN)),
        ("patience", "0", exact().patience(0)),
        ("temperature", "-1", exact().temperature(-1.0)),
        ("temperature", "100.5", exact().temperature(100.5)),
        ("temperature", "NaN", exact().temperature(f64::NAN)),
        ("max_extrapolation", "-0.5", exact().max_extrapolation(-0.5)),
        ("max_extrapolation", "1", exact().max_extrapolation(1.0)),
        ("max_extrapolation", "NaN", exact().max_extrapolation(f64::NAN)),
        ("learning_rate", "0", Options::paper().learning_rate(0.0)),
        ("learning_rate", "1.5", Options::paper().learning_rate(1.5)),
        ("learning_rate", "NaN", Options::paper().learning_rate(f64::NAN)),
        ("threads", "1025", exact().threads(1025)),
    ];
    for (expected, shown, options) in cases {
        let error = options.validate().expect_err(expected);
        let Error::Option { name, value, expected: range } = &error else { panic!("{error}") };
        assert_eq!((*name, value.as_str()), (expected, shown));
        assert_eq!(error.to_string(), format!("option {name}: {value} is out of range, expected {range}"));
        assert_eq!(Descent::new(&options).err(), Some(error.clone()));
        assert_eq!(factorize(&layer, &options).err(), Some(error));
    }
    let ends = [
        exact().left_block(1).right_block(4),
        exact().block(4096),
        exact().iterations(1).tolerance(0.0).patience(1).temperature(0.0).max_extrapolation(0.0),
        exact().iterations(10_000_000).temperature(100.0).max_extrapolation(0.999).threads(1024),
        exact().time_budget(Some(Duration::from_nanos(1))).patience(usize::MAX).seed(u64::MAX),
        Options::paper().learning_rate(1.0).method(Method::Gradient),
    ];
    for options in ends {
        assert_eq!(options.validate(), Ok(()), "{options:?}");
    }
}

#[test]
fn patterns() {
    for (n, m) in [(0, 4), (4, 4), (5, 4), (0, 0), (1, 9), (8, 16), (usize::MAX, 8), (257, 260)] {
        assert_eq!(Pattern::new(n, m), Err(Error::Pattern { n, m }));
    }
    for text in [
        "",
        "2",
        "+2:4",
        "2:+4",
        "2-4",
        "a:4",
        "2:b",
        "2:4:8",
        ":",
        "-2:4",
        " 2:4",
        "2:4 ",
        "2.0:4",
        "99999999999999999999:4",
    ] {
        assert_eq!(text.parse::<Pattern>(), Err(Error::PatternText { text: text.to_owned() }));
    }
    assert_eq!("4:2".parse::<Pattern>(), Err(Error::Pattern { n: 4, m: 2 }));
    for m in 2..=8 {
        for n in 1..m {
            let pattern = Pattern::new(n, m).expect("0 < N < M <= 8");
            assert_eq!(pattern.to_string().parse(), Ok(pattern));
            assert_eq!((pattern.n(), pattern.m()), (n, m));
        }
    }
}

/// Sets one group, and fails as the core does.
struct SetGroup {
    mask: u8,
    values: Vec<f32>,
}

impl MaskSelector for SetGroup {
    fn select(&mut self, state: &mut State<'_>) -> Result<(), BoxError> {
        let before = state.core().clone();
        let result = state.core_mut().set_group(2, 5, self.mask, &self.values);
        assert_eq!(result.is_err(), before == *state.core(), "a refusal changes nothing");
        if let (Ok(()), (mask, values)) = (&result, state.core().group(2, 5)) {
            assert_eq!((mask, values), (self.mask, self.values.as_slice()));
        }
        Ok(result?)
    }
}

#[test]
fn groups_that_break_the_pattern() {
    let w = weight(4, 40, 1);
    let layer = Layer::new(&w, Hessian::identity(40)).expect("valid");
    let run = |mask: u8, values: &[f32]| {
        let options = Options::exact().left_block(4).right_block(12).iterations(1);
        let selector = SetGroup { mask, values: values.to_vec() };
        Descent::new(&options).expect("valid").initial_mask(selector).run(&layer).err()
    };
    for mask in [0, 0b0001, 0b0111, 0b1111, 0b1_0001, 0b11_0000, 0b1000_0001, 0xff] {
        let error = Error::GroupMask { row: 2, group: 5, mask, n: 2, m: 4 };
        assert_eq!(run(mask, &[1.0, 2.0]), Some(error));
    }
    for values in [&[][..], &[1.0], &[1.0, 2.0, 3.0]] {
        let error = Error::Length { argument: "values", found: values.len(), expected: 2 };
        assert_eq!(run(0b1010, values), Some(error));
    }
    assert_eq!(run(0b1010, &[1.0, 2.0]), None);
}

/// Gives NoWag's scales with one thing wrong.
struct Broken(fn(&mut Normalization));

impl ProxyLoss for Broken {
    fn normalize(&self, layer: &Layer<'_>) -> Result<Normalization, BoxError> {
        let mut normalization = Normalization::nowag(layer);
        (self.0)(&mut normalization);
        Ok(normalization)
    }
}

#[test]
fn losses_that_do_not_fit_the_layer() {
    let w = weight(4, 8, 1);
    let layer = Layer::new(&w, Hessian::identity(8)).expect("valid");
    let run = |broken: fn(&mut Normalization)| {
        Descent::new(&Options::exact().iterations(1)).expect("valid").proxy_loss(Broken(broken)).run(&layer).err()
    };
    let length = |argument, found, expected| Some(Error::Length { argument, found, expected });
    assert_eq!(run(|n| n.rows.push(1.0)), length("normalization.rows", 5, 4));
    assert_eq!(run(|n| n.cols.truncate(3)), length("normalization.cols", 3, 8));
    assert_eq!(run(|n| n.importance.clear()), length("normalization.importance", 0, 8));
    let not_positive = |argument, index, value| Some(Error::NotPositive { argument, index, value });
    assert_eq!(run(|n| n.rows[3] = 0.0), not_positive("normalization.rows", 3, 0.0));
    assert_eq!(run(|n| n.cols[1] = -2.0), not_positive("normalization.cols", 1, -2.0));
    let error = run(|n| n.cols[5] = f64::NAN).expect("refused").to_string();
    assert_eq!(error, "normalization.cols: entry 5 is NaN, expected a positive finite number");
    let importance = "normalization.importance";
    let negative = |index, value| Some(Error::Negative { argument: importance, index, value });
    assert_eq!(run(|n| n.importance[7] = f64::INFINITY), negative(7, f64::INFINITY));
    assert_eq!(run(|n| n.importance[4] = -1e-30), negative(4, -1e-30));
    let error = run(|n| n.importance[2] = f64::NAN).expect("refused").to_string();
    assert_eq!(error, "normalization.importance: entry 2 is NaN, expected a finite number, not negative");
    assert_eq!(run(|n| n.importance.fill(0.0)), Some(Error::AllZero { argument: importance }));
    let error = run(|n| n.importance.fill(0.0)).expect("refused").to_string();
    assert_eq!(error, "normalization.importance: all entries are 0, expected at least one positive number");
    assert_eq!(run(|n| n.importance[..7].fill(0.0)), None);
    assert_eq!(run(|_| ()), None);
}

/// An error that the crate does not know.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("the sensor is off in iteration {0}")]
struct SensorOff(usize);

/// Fails at one iteration, with an error of its own or of the crate's.
struct FailsAt {
    iteration: usize,
    own: bool,
}

impl FailsAt {
    fn fail(&self, iteration: usize) -> Result<(), BoxError> {
        match iteration == self.iteration {
            true if self.own => Err(SensorOff(iteration).into()),
            true => Err(Error::Pattern { n: 9, m: 9 }.into()),
            false => Ok(()),
        }
    }
}

impl WrapperUpdate for FailsAt {
    fn update(&mut self, _state: &mut State<'_>, step: &Step) -> Result<(), BoxError> {
        self.fail(step.iteration)
    }
}

impl CoreUpdate for FailsAt {
    fn update(&mut self, _state: &mut State<'_>, step: &Step) -> Result<(), BoxError> {
        self.fail(step.iteration)
    }
}

impl MaskSelector for FailsAt {
    fn select(&mut self, _state: &mut State<'_>) -> Result<(), BoxError> {
        self.fail(0)
    }
}

impl ProxyLoss for FailsAt {
    fn normalize(&self, layer: &Layer<'_>) -> Result<Normalization, BoxError> {
        self.fail(0)?;
        Ok(Normalization::nowag(layer))
    }
}

#[test]
fn errors_of_the_callers_own_parts_come_back() {
    let w = weight(4, 8, 1);
    let layer = Layer::new(&w, Hessian::identity(8)).expect("valid");
    let descent = || Descent::new(&Options::exact().iterations(5)).expect("valid");
    for own in [false, true] {
        let part = |iteration| FailsAt { iteration, own };
        for (role, iteration, run) in [
            ("proxy_loss", 0, descent().proxy_loss(part(0)).run(&layer)),
            ("initial_mask", 0, descent().initial_mask(part(0)).run(&layer)),
            ("wrapper_update", 3, descent().wrapper_update(part(3)).run(&layer)),
            ("core_update", 4, descent().core_update(Box::new(part(4)) as Box<dyn CoreUpdate>).run(&layer)),
        ] {
            let error = run.expect_err("the part fails");
            if !own {
                assert_eq!(error, Error::Pattern { n: 9, m: 9 }, "{role}");
                continue;
            }
            assert_eq!(error.to_string(), format!("{role}: the sensor is off in iteration {iteration}"));
            let source = std::error::Error::source(&error).and_then(|source| source.downcast_ref::<SensorOff>());
            assert_eq!(source, Some(&SensorOff(iteration)), "{role}");
        }
    }
}

/// Replaces one factor by that of another layer.
struct Replaces(&'static str, Factorization);

impl WrapperUpdate for Replaces {
    fn update(&mut self, state: &mut State<'_>, _step: &Step) -> Result<(), BoxError> {
        match self.0 {
            "left" => *state.left_mut() = self.1.left().clone(),
            "core" => *state.core_mut() = self.1.core().clone(),
            _ => *state.right_mut() = self.1.right().clone(),
        }
        Ok(())
    }
}

#[test]
fn factors_of_another_shape() {
    let (w, other) = (weight(8, 16, 1), weight(12, 32, 1));
    let layer = Layer::new(&w, Hessian::identity(16)).expect("valid");
    let other = Layer::new(&other, Hessian::identity(32)).expect("valid");
    let options = Options::exact().block(8).iterations(2);
    let other = factorize(&other, &options).expect("runs");
    for (part, message) in [
        ("left", "wrapper_update: leaves a left factor of 12 in blocks of 8, expected 8 in blocks of 8"),
        (
            "core",
            "wrapper_update: leaves a core factor of 12 × 32 in blocks of 8, pattern 2:4, expected 8 × 16 in blocks of 8, pattern 2:4",
        ),
        ("right", "wrapper_update: leaves a right factor of 32 in blocks of 8, expected 16 in blocks of 8"),
    ] {
        let descent = Descent::new(&options).expect("valid").wrapper_update(Replaces(part, other.clone()));
        assert_eq!(descent.run(&layer).expect_err("does not fit").to_string(), message);
    }
}

#[test]
fn an_input_of_the_wrong_length() {
    let w = weight(4, 8, 1);
    let layer = Layer::new(&w, Hessian::identity(8)).expect("valid");
    let result = factorize(&layer, &Options::exact().iterations(1)).expect("runs");
    for found in [0, 4, 7, 9] {
        let error = result.apply(Array1::zeros(found).view()).expect_err("wrong length");
        assert_eq!(error, Error::Length { argument: "x", found, expected: 8 });
    }
    let y = result.apply(Array1::from_elem(8, f32::NAN).view()).expect("NaN spreads");
    assert!(y.iter().all(|y| y.is_nan()));
}
