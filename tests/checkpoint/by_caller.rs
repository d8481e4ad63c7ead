//! Jobs that their callers calibrate, layer by layer: the caller passes what it knows of a layer's inputs with the call
//! that runs the layer, and reads back the weight that the layer has from then on.

use std::ops::ControlFlow;

use armor_core::checkpoint::{Calibration, CheckpointError, Job, JobSettings};
use armor_core::{Error, Factorization, Format, Hessian, Objective, Precision};
use ndarray::{Array1, Array2};
use safetensors::Dtype;
use serde_json::Value;

use crate::by_pairs::{moments, run_on_pairs};
use crate::common::coupled::{full_hessian, quadratic_form};
use crate::common::pairs::Pairs;
use crate::common::{Mat, assert_close, relative_loss, to_f64};
use crate::decode::approximation;
use crate::model::{Model, Tensor, files, output_names, read, resumed, run};
use crate::small::{SIZE, Small, layers, named, report, square};

/// The settings of [`Model::settings`] for a caller that calibrates.
fn settings(model: &Model, out: &str) -> JobSettings {
    let mut settings = model.settings(out);
    settings.hessians = None;
    settings.alias.clear();
    settings
}

/// Settings of a job on the one weight `a.weight`.
fn one(small: &Small, out: &str) -> JobSettings {
    let mut settings = JobSettings::calibrated_by_caller(small.path("model"), ["a.weight"], small.path(out));
    settings.options = settings.options.block(4).iterations(4);
    settings
}

fn diagonal(values: &[f64]) -> Hessian {
    Hessian::from_diagonal(&Array1::from(values.to_vec())).expect("sound")
}

pub fn run_on(job: &Job, index: usize, hessian: &Hessian, tokens: u64) -> Result<(), CheckpointError> {
    job.run_layer_on(index, Calibration::Hessian { hessian, tokens }, |_| ControlFlow::Continue(()))
}

/// Runs all layers one after another, as a program that runs the model does: the inputs of a layer, a Hessian or pairs in
/// turn, depend on the weight that the layer before it has by then.
pub fn run_in_turn(job: &Job) -> Result<(), CheckpointError> {
    let mut seed = 0;
    for (index, layer) in job.layers().iter().enumerate() {
        if index % 2 == 0 {
            let hessian = Hessian::from_diagonal(&crate::common::hessian(layer.cols, seed)).expect("sound");
            run_on(job, index, &hessian, seed)?;
        } else {
            run_on_pairs(job, index, &moments(&Pairs::drifting(40, layer.cols, 0.2, seed)))?;
        }
        let bits = job.layer_weight(index)?;
        seed = bits.iter().fold(seed, |seed, value| seed.rotate_left(5) ^ u64::from(value.to_bits()));
    }
    Ok(())
}

/// The message that refuses a call.
#[track_caller]
fn message<T>(result: Result<T, CheckpointError>) -> String {
    result.err().expect("must be refused").to_string()
}

/// The only layer of a report.
fn only(job: &Job) -> Value {
    report(job)["layers"][0].clone()
}

#[test]
fn the_output_is_that_of_the_same_hessians_in_a_file() {
    let model = Model::new();
    let of_files = run(model.settings("files"));
    let job = Job::open(settings(&model, "caller")).expect("sound");
    assert_eq!(job.layers().len(), of_files.layers().len());
    for (index, layer) in of_files.layers().iter().enumerate() {
        assert_eq!((&job.layers()[index].name, &job.layers()[index].hessian), (&layer.name, &None));
        let hessian = &model.hessians[layer.hessian.as_ref().expect("a Hessian")];
        run_on(&job, index, &diagonal(&hessian.values()), 7).expect("runs");
    }
    job.finish(&|_, _| {}).expect("finishes");
    let (ours, theirs) = (files(&model.out("caller")), files(&model.out("files")));
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    for (name, bytes) in ours.iter().filter(|(name, _)| !["report.json", "summary.html"].contains(&name.as_str())) {
        assert!(&theirs[name] == bytes, "{name} differs");
    }
    let (ours, theirs) = (report(&job), report(&of_files));
    assert_eq!((&ours["total"], &ours["files"]), (&theirs["total"], &theirs["files"]));
    assert_eq!(ours["hessian_files"], serde_json::json!([]));
    for (ours, theirs) in
        ours["layers"].as_array().expect("layers").iter().zip(theirs["layers"].as_array().expect("layers"))
    {
        let mut ours = ours.clone();
        let keys = ours.as_object_mut().expect("an object");
        assert!(keys.remove("output_error").is_some_and(|error| error.as_f64().is_some_and(|error| error > 0.0)));
        assert_eq!(keys.remove("calibration"), Some("hessian".into()));
        for of_pairs in ["drift", "irreducible", "correction_ridge"] {
            assert_eq!(keys.remove(of_pairs), Some(Value::Null));
        }
        assert_eq!(keys.insert("tokens".to_owned(), Value::Null), Some(7.into()));
        keys.insert("hessian".to_owned(), theirs["hessian"].clone());
        assert_eq!(&ours, theirs);
    }
}

#[test]
fn the_weight_is_that_of_the_output_before_and_after_the_job_is_finished() {
    let model = Model::new();
    for (format, dtype) in [
        (Format::Factors, None),
        (Format::Factors, Some(Precision::F32)),
        (Format::Factors, Some(Precision::Bf16)),
        (Format::Reconstructed, Some(Precision::F16)),
        (Format::DenseCore, None),
    ] {
        let out = format!("{format}-{dtype:?}");
        let mut settings = settings(&model, &out);
        (settings.format, settings.dtype) = (format, dtype.map(Into::into));
        let job = Job::open(settings.clone()).expect("sound");
        let unfinished = "job: layer 3, model.layers.0.self_attn.k_proj.weight, is not done";
        assert_eq!(message(job.layer_weight(3)), unfinished);
        run_in_turn(&job).expect("runs");
        let weights = |job: &Job| -> Result<Vec<Array2<f32>>, CheckpointError> {
            (0..job.layers().len()).map(|index| job.layer_weight(index)).collect()
        };
        let before = weights(&job).expect("done");
        assert!(weights(&Job::open(resumed(&settings)).expect("the same job")).expect("done") == before);
        job.finish(&|_, _| {}).expect("finishes");
        if format == Format::DenseCore {
            let told = message(job.layer_weight(0));
            assert!(told.contains("is stored in the format dense-core, which is not read back"), "{told}");
        } else {
            assert!(weights(&Job::open(resumed(&settings)).expect("the same job")).expect("is read") == before);
        }
        for (layer, weight) in job.layers().iter().zip(&before) {
            assert_eq!(weight.dim(), (layer.rows, layer.cols));
            let place = usize::from(layer.file != crate::model::SHARDS[0]);
            let path = model.out(&out).join(output_names(format).0[place]);
            let (shard, file) = (read(&path), std::fs::read(&path).expect("a file"));
            let stored = approximation(&shard, &file, &layer.name, format);
            let largest = stored.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
            for (&ours, theirs) in weight.iter().zip(stored) {
                assert_close(ours.into(), theirs, 1e-6, 1e-6 * largest, &layer.name);
            }
        }
    }
}

/// Experts in one tensor, stored as [inputs, outputs].
#[test]
fn slices_and_transposed_weights_come_back_as_outputs_and_inputs() {
    let weights = [1, 2].map(|seed| crate::common::weight(SIZE, 48, seed));
    let stored = weights.iter().flat_map(|weight| weight.t().iter().copied().collect::<Vec<_>>());
    let small = Small::new(
        &named([("a.weight", Tensor::new(Dtype::F32, &[2, 48, SIZE], stored)), ("b.weight", square(3))]),
        &named([]),
    );
    for format in [Format::Factors, Format::Reconstructed] {
        let mut settings = one(&small, &format.to_string());
        settings.format = format;
        settings.include.push("b.*".to_owned());
        settings.transposed = Some(vec!["a.weight".to_owned()]);
        let job = Job::open(settings).expect("sound");
        assert_eq!(layers(&job), ["a.0.weight", "a.1.weight", "b.weight"]);
        run_in_turn(&job).expect("runs");
        let before: Vec<_> = (0..3).map(|index| job.layer_weight(index).expect("done")).collect();
        job.finish(&|_, _| {}).expect("finishes");
        for (index, (weight, before)) in weights.iter().zip(&before).enumerate() {
            assert!(job.layer_weight(index).expect("is read") == *before);
            let error = (weight - before).mapv(|x| x * x).sum() / weight.mapv(|x| x * x).sum();
            assert!(error < 0.5, "{error}: not the weight of slice {index}");
        }
        assert!(job.layer_weight(2).expect("is read") == before[2]);
    }
}

#[test]
fn the_report_measures_what_is_stored() {
    let weight = Tensor::weight(Dtype::F32, SIZE, 48, 1);
    let small = Small::new(&named([("a.weight", weight.clone())]), &named([]));
    let values = Tensor::diagonal(48, 5).values();
    for (format, dtype) in [
        (Format::Factors, Precision::Bf16),
        (Format::Reconstructed, Precision::Bf16),
        (Format::Factors, Precision::F32),
    ] {
        let mut settings = one(&small, &format!("{format}-{dtype}"));
        (settings.format, settings.dtype) = (format, Some(dtype.into()));
        let job = Job::open(settings).expect("sound");
        run_on(&job, 0, &diagonal(&values), 100).expect("runs");
        let stored = to_f64(&job.layer_weight(0).expect("done"));
        job.finish(&|_, _| {}).expect("finishes");
        let told = only(&job);
        let number = |key: &str| told[key].as_f64().expect("a number");
        let weight = weight.matrix();
        let weighted = |x: &Mat| x.indexed_iter().map(|((_, j), x)| values[j] * x * x).sum::<f64>();
        let error = weighted(&(&weight - &stored)) / weighted(&weight);
        assert_close(number("output_error"), error, 1e-5, 0.0, "output error");
        assert_close(number("loss"), relative_loss(&weight, &values, &stored), 1e-5, 0.0, "loss");
        assert_eq!(number("loss") == number("loss_in_f32"), dtype == Precision::F32 && format == Format::Factors);
        assert_eq!((&told["tokens"], &told["calibration"]), (&100.into(), &"hessian".into()));
    }
}

#[test]
fn the_output_error_is_that_of_the_whole_hessian() {
    let weight = Tensor::weight(Dtype::F32, SIZE, 48, 1);
    let small = Small::new(&named([("a.weight", weight.clone())]), &named([]));
    let hessian = full_hessian(48, 96, 2);
    let mut settings = one(&small, "out");
    settings.options = settings.options.objective(Objective::Full);
    let job = Job::open(settings.clone()).expect("sound");
    let told = message(run_on(&job, 0, &diagonal(&[1.0; 48]), 1));
    assert!(told.starts_with("model.safetensors: a.weight: ") && told.contains("full"), "{told}");
    assert!(!job.is_done(0));
    run_on(&job, 0, &Hessian::from_full(&hessian).expect("sound"), 40).expect("runs");
    let stored = to_f64(&job.layer_weight(0).expect("done"));
    job.finish(&|_, _| {}).expect("finishes");
    let (weight, hessian) = (weight.matrix(), to_f64(&hessian));
    let expected = quadratic_form(&(&weight - &stored), &hessian) / quadratic_form(&weight, &hessian);
    assert_close(only(&job)["output_error"].as_f64().expect("a number"), expected, 1e-5, 0.0, "output error");
    let warnings = report(&job)["warnings"].clone();
    assert_eq!(warnings, serde_json::json!(["a.weight: has 40 calibration tokens and 48 inputs"]));
}

#[test]
fn each_kind_of_job_has_its_own_call() {
    let small = Small::new(&named([("a.weight", square(1))]), &named([("a.hessian_diag", Tensor::diagonal(SIZE, 2))]));
    let hessian = diagonal(&[1.0; SIZE]);
    let of_caller = Job::open(one(&small, "caller")).expect("sound");
    let told = "settings: hessians: is absent, so every layer is run with a calibration of the caller's: use run_layer_on instead";
    assert_eq!(message(of_caller.run_layer(0, |_| ControlFlow::Continue(()))), told);
    assert_eq!(message(of_caller.run(1, &|_| {})), told);
    let of_files = Job::open(small.settings("files")).expect("sound");
    let told =
        "settings: hessians: is given, so every layer is run with the Hessian of its file: use run_layer instead";
    assert_eq!(message(run_on(&of_files, 0, &hessian, 1)), told);
    assert!(!small.path("caller").exists() && !small.path("files").exists(), "something was written");
    let told = message(run_on(&of_caller, 0, &diagonal(&[1.0; 8]), 1));
    assert_eq!(told, "model.safetensors: a.weight: hessian: covers 8 inputs, but the weight has 32 columns");
    let cancelled =
        of_caller.run_layer_on(0, Calibration::Hessian { hessian: &hessian, tokens: 1 }, |_| ControlFlow::Break(()));
    assert!(matches!(cancelled, Err(CheckpointError::Cancelled)));
    assert!(!of_caller.is_done(0));
}

#[test]
fn settings_that_a_caller_cannot_give() {
    let small = Small::new(&named([("a.weight", square(1)), ("b.weight", Tensor::diagonal(8, 1))]), &named([]));
    let of_caller = |settings: &mut JobSettings| {
        settings.hessians = None;
        settings.include = vec!["a.weight".to_owned()];
    };
    let told = small.refused(|settings| settings.hessians = None);
    assert!(
        told.starts_with("settings: include: is empty; without \"hessians\" the caller calibrates every layer"),
        "{told}"
    );
    for key in ["alias", "rename"] {
        let told = small.refused(|settings| {
            of_caller(settings);
            let names = [("a".to_owned(), "b".to_owned())].into();
            if key == "alias" { settings.alias = names } else { settings.rename = names }
        });
        assert!(told.starts_with(&format!("settings: {key}: says where the Hessian of a weight is")), "{told}");
    }
    let told = small.refused(|settings| {
        of_caller(settings);
        settings.include = vec!["*.weight".to_owned()];
    });
    assert_eq!(told, "model.safetensors: b.weight: has shape [8], expected two or three axes");
    let told = small.refused(|settings| {
        of_caller(settings);
        settings.exclude = vec!["a.*".to_owned()];
    });
    assert_eq!(told, "{folder}/model: no tensor is selected: all that are included are excluded, too");
    let mut numbers = crate::common::weight(SIZE, SIZE, 1);
    numbers[[3, 5]] = f32::NAN;
    let small = Small::new(&named([("a.weight", Tensor::new(Dtype::F32, &[SIZE, SIZE], numbers))]), &named([]));
    let told = small.refused(of_caller);
    assert!(told.starts_with("model.safetensors: a.weight: weight: entry [3, 5] is NaN"), "{told}");
}

#[test]
fn format_and_dtype_stay_those_that_the_layers_were_measured_in() {
    let small = Small::new(&named([("a.weight", square(1))]), &named([]));
    let settings = one(&small, "out");
    run_on(&Job::open(settings.clone()).expect("sound"), 0, &diagonal(&[1.0; SIZE]), 1).expect("runs");
    let out = settings.out.display();
    let because = "a job that its caller calibrates measures every layer as it is stored, and keeps format and dtype";
    let mut other = resumed(&settings);
    other.dtype = Some(Precision::Bf16.into());
    let told = format!("{out}: holds another job: stored.dtype is null there, \"bf16\" here; {because}");
    assert_eq!(message(Job::open(other)), told);
    let mut other = resumed(&settings);
    other.format = Format::DenseCore;
    let told = format!("{out}: holds another job: stored.format is \"factors\" there, \"dense-core\" here; {because}");
    assert_eq!(message(Job::open(other)), told);
    Job::open(resumed(&settings)).expect("the same job").finish(&|_, _| {}).expect("finishes");
    let mut other = resumed(&settings);
    other.dtype = Some(Precision::Bf16.into());
    let told = format!("{out}: holds another job, which is finished: settings.dtype is null there, \"bf16\" here");
    assert_eq!(message(Job::open(other)), told);
}

#[test]
fn a_value_beyond_the_dtype_leaves_nothing_behind() {
    let large = crate::common::weight(SIZE, SIZE, 1).mapv(|x| 1e12 * x);
    let small = Small::new(&named([("a.weight", Tensor::new(Dtype::F32, &[SIZE, SIZE], large))]), &named([]));
    let mut settings = one(&small, "out");
    (settings.format, settings.dtype) = (Format::Reconstructed, Some(Precision::F16.into()));
    settings.check_values = false;
    let job = Job::open(settings).expect("values are not checked");
    let error = run_on(&job, 0, &diagonal(&[1.0; SIZE]), 1).expect_err("does not fit");
    assert!(matches!(error, CheckpointError::InTensor { source: Error::Overflow { .. }, .. }), "{error}");
    assert!(!job.is_done(0));
}

#[test]
fn a_layer_whose_weight_has_changed_is_refused_and_its_calibration_is_not_asked_for_again() {
    let small = Small::new(&named([("a.weight", square(1))]), &named([]));
    let settings = one(&small, "out");
    run_on(&Job::open(settings.clone()).expect("sound"), 0, &diagonal(&[1.0; SIZE]), 1).expect("runs");
    let job = Job::open(resumed(&settings)).expect("the same job");
    let weight = job.layer_weight(0).expect("done");
    run_on(&job, 0, &diagonal(&[2.0; SIZE]), 9).expect("is done");
    assert!(job.layer_weight(0).expect("done") == weight);
    let path = small.path("model/model.safetensors");
    let mut bytes = std::fs::read(&path).expect("a file");
    *bytes.last_mut().expect("has bytes") ^= 1;
    let sound = std::fs::read(&path).expect("a file");
    std::fs::write(&path, &bytes).expect("can be written");
    let told = message(job.finish(&|_, _| {}));
    let out = settings.out.display();
    assert_eq!(told, format!("{out}: holds another job: model.safetensors: a.weight has changed since it was begun"));
    std::fs::write(&path, sound).expect("can be written");
    job.finish(&|_, _| {}).expect("finishes");
    assert_eq!(only(&job)["tokens"], 1);
    let file = std::fs::read(small.path("out/armor-model.safetensors")).expect("a file");
    assert!(Factorization::from_safetensors(&file, "a").expect("sound").reconstruct() == weight);
}
