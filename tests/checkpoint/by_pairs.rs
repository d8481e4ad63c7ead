//! Layers that are calibrated on pairs: the weight that makes up for the compressed model's inputs is factorised under the
//! Hessian of these inputs, and the report measures what is stored against the outputs of the dense layer.

use std::ops::ControlFlow;

use armor_core::checkpoint::{Calibration, CheckpointError, Job, JobSettings};
use armor_core::{
    CorrectionOptions, Error, Format, Layer, Objective, Options, PairAccumulator, PairMoments, Precision, factorize,
};
use ndarray::Array2;
use safetensors::Dtype;
use serde_json::{Value, json};

use crate::by_caller::run_on;
use crate::common::pairs::Pairs;
use crate::common::{assert_close, to_f64};
use crate::model::{Tensor, resumed};
use crate::small::{SIZE, Small, named, report};

const COLS: usize = 48;

pub fn moments(pairs: &Pairs) -> PairMoments {
    let mut accumulator = PairAccumulator::new(pairs.inputs());
    accumulator.add(&pairs.dense, &pairs.compressed).expect("finite");
    accumulator.moments().expect("tokens were added")
}

fn weight() -> Array2<f32> {
    crate::common::weight(SIZE, COLS, 1)
}

/// A model with one weight.
fn small() -> Small {
    Small::new(&named([("a.weight", Tensor::new(Dtype::F32, &[SIZE, COLS], weight()))]), &named([]))
}

fn settings(small: &Small, out: &str) -> JobSettings {
    let mut settings = JobSettings::calibrated_by_caller(small.path("model"), ["a.weight"], small.path(out));
    settings.options = settings.options.block(4).iterations(4);
    settings
}

pub fn run_on_pairs(job: &Job, index: usize, moments: &PairMoments) -> Result<(), CheckpointError> {
    job.run_layer_on(index, Calibration::Pairs(moments), |_| ControlFlow::Continue(()))
}

/// Runs a job on one weight to its end, and gives what is stored of the weight and the report of the layer.
fn completed(settings: JobSettings, moments: &PairMoments) -> (Array2<f32>, Value) {
    let job = Job::open(settings).expect("sound");
    run_on_pairs(&job, 0, moments).expect("runs");
    let stored = job.layer_weight(0).expect("done");
    job.finish(&|_, _| {}).expect("finishes");
    (stored, report(&job)["layers"][0].clone())
}

#[test]
fn the_corrected_weight_is_factorised_under_the_hessian_of_the_compressed_model() {
    let small = small();
    let moments = moments(&Pairs::drifting(200, COLS, 0.3, 5));
    for (objective, correction, ridge) in [
        (Objective::Diagonal, None, None),
        (Objective::Full, Some(0.25), None),
        (Objective::Full, Some(1.0), Some(0.0)),
    ] {
        let mut settings = settings(&small, &format!("{objective:?}-{correction:?}"));
        (settings.correction, settings.correction_ridge) = (correction, ridge);
        settings.options = settings.options.objective(objective);
        let options: Options = settings.options.clone();
        let (stored, told) = completed(settings, &moments);

        let asked = CorrectionOptions { strength: correction.unwrap_or(0.5), ridge: ridge.unwrap_or(0.01) };
        let expected = moments.correct(&weight(), &asked).expect("sound");
        let layer = Layer::new(&expected.weight, moments.hessian().clone()).expect("sound");
        let result = factorize(&layer, &options).expect("runs");
        assert!(stored == result.reconstruct());
        assert_eq!(told["loss"].as_f64(), Some(result.loss()));
        assert_eq!(told["calibration"], "pairs");
        assert_eq!((&told["tokens"], &told["hessian"]), (&200.into(), &Value::Null));
        assert_eq!(told["correction_ridge"].as_f64(), Some(expected.ridge));
        assert_eq!(told["irreducible"].as_f64(), Some(expected.irreducible));
        assert_eq!(told["drift"].as_f64(), Some(expected.drift));
    }
}

/// Token by token.
#[test]
fn the_report_measures_what_is_stored_against_the_dense_layer() {
    let small = small();
    let pairs = Pairs::drifting(200, COLS, 0.3, 6);
    let moments = moments(&pairs);
    for (format, dtype) in [(Format::Factors, Precision::Bf16), (Format::Reconstructed, Precision::F16)] {
        let mut settings = settings(&small, &format.to_string());
        (settings.format, settings.dtype) = (format, Some(dtype.into()));
        let (stored, told) = completed(settings, &moments);
        let expected = pairs.output_error(&to_f64(&weight()), &stored.view());
        let error = told["output_error"].as_f64().expect("a number");
        assert_close(error, expected, 1e-4, 0.0, "output error");
        assert!(error > told["irreducible"].as_f64().expect("a number"), "{told}");
    }
}

#[test]
fn inputs_that_are_the_same_in_both_models_need_no_correction() {
    let small = small();
    let mut pairs = Pairs::drifting(200, COLS, 0.3, 7);
    pairs.dense = pairs.compressed.clone();
    let moments = moments(&pairs);
    let (stored, told) = completed(settings(&small, "pairs"), &moments);
    let job = Job::open(settings(&small, "hessian")).expect("sound");
    run_on(&job, 0, moments.hessian(), 200).expect("runs");
    assert!(job.layer_weight(0).expect("done") == stored);
    job.finish(&|_, _| {}).expect("finishes");
    let of_hessian = &report(&job)["layers"][0];
    assert_eq!(told["loss"], of_hessian["loss"]);
    assert_eq!((&told["drift"], &told["irreducible"]), (&json!(0.0), &json!(0.0)));
    let number = |told: &Value| told["output_error"].as_f64().expect("a number");
    assert_close(number(&told), number(of_hessian), 1e-5, 0.0, "output error");
}

#[test]
fn an_error_without_end_is_left_out() {
    let small = small();
    let mut pairs = Pairs::drifting(200, COLS, 0.3, 8);
    pairs.dense.fill(0.0);
    let (_, told) = completed(settings(&small, "out"), &moments(&pairs));
    assert_eq!((&told["output_error"], &told["drift"]), (&Value::Null, &Value::Null));
}

#[test]
fn pairs_that_do_not_fit_and_settings_that_do_not_apply() {
    let small = Small::new(
        &named([("a.weight", Tensor::new(Dtype::F32, &[SIZE, COLS], weight()))]),
        &named([("a.hessian_diag", Tensor::diagonal(COLS, 2))]),
    );
    let job = Job::open(settings(&small, "out")).expect("sound");
    let error = run_on_pairs(&job, 0, &moments(&Pairs::drifting(20, 8, 0.3, 1))).expect_err("does not fit");
    assert_eq!(
        error.to_string(),
        "model.safetensors: a.weight: hessian: covers 8 inputs, but the weight has 48 columns"
    );
    for key in ["correction", "correction_ridge"] {
        let set = |settings: &mut JobSettings, value: f64| match key {
            "correction" => settings.correction = Some(value),
            _ => settings.correction_ridge = Some(value),
        };
        let told = small.refused(|settings| set(settings, 0.5));
        let expected = format!(
            "settings: {key}: applies to layers that the caller calibrates on pairs, but \"hessians\" is given"
        );
        assert_eq!(told, expected);
        for value in [-0.5, f64::NAN, f64::INFINITY] {
            let mut settings = settings(&small, "refused");
            set(&mut settings, value);
            let error = Job::open(settings).expect_err("out of range");
            assert!(matches!(error, CheckpointError::Core(Error::Option { name, .. }) if name == key), "{error}");
        }
    }
}

#[test]
fn the_correction_is_a_part_of_the_job() {
    let small = small();
    let moments = moments(&Pairs::drifting(200, COLS, 0.3, 9));
    let begun = settings(&small, "out");
    run_on_pairs(&Job::open(begun.clone()).expect("sound"), 0, &moments).expect("runs");
    let out = begun.out.display();
    let mut other = resumed(&begun);
    other.correction = Some(0.25);
    let told = format!("{out}: holds another job: options.correction is 0.5 there, 0.25 here");
    assert_eq!(Job::open(other).expect_err("is another job").to_string(), told);
    let mut same = resumed(&begun);
    (same.correction, same.correction_ridge) = (Some(0.5), Some(0.01));
    let job = Job::open(same).expect("the same job");
    job.finish(&|_, _| {}).expect("finishes");
    let settings = &report(&job)["settings"];
    assert_eq!((&settings["correction"], &settings["correction_ridge"]), (&json!(0.5), &json!(0.01)));
}
