//! The settings of a job: every option is a key of their JSON, and what is written can be read again.

use std::time::Duration;

use armor_core::checkpoint::{CheckpointError, Job, JobSettings, Override};
use armor_core::{
    FactorPrecision, Format, Method, Objective, OptionChanges, Options, Pattern, Precision, RowWeighting,
};
use serde_json::{Value, json};

use crate::model::{Model, run};

fn every_option() -> Options {
    Options::paper()
        .method(Method::Gradient)
        .objective(Objective::Diagonal)
        .shrinkage(0.25)
        .row_weighting(RowWeighting::Uniform)
        .memory_limit(Some(1 << 30))
        .left_block(16)
        .right_block(8)
        .pattern(Pattern::new(1, 4).expect("valid"))
        .iterations(3)
        .time_budget(Some(Duration::from_secs(600)))
        .tolerance(1e-3)
        .patience(7)
        .temperature(0.5)
        .max_extrapolation(0.125)
        .learning_rate(0.01)
        .seed(u64::MAX)
        .threads(2)
}

#[test]
fn every_option_is_a_key() {
    let mut json: Value = serde_json::from_str(&every_option().to_json()).expect("JSON");
    let paths = json!({"checkpoint": "a", "hessians": "b", "out": "c", "preset": "paper"});
    json.as_object_mut().expect("an object").extend(paths.as_object().expect("an object").clone());
    let settings = JobSettings::from_json(json.to_string().as_bytes()).expect("sound");
    assert_eq!(settings.options, every_option());
}

#[test]
fn settings_survive_the_way_through_json() {
    let mut settings = JobSettings::new("größe/model", "h.safetensors", "out");
    assert_eq!(JobSettings::from_json(settings.to_json().as_bytes()).expect("sound"), settings);
    let of_caller = JobSettings::calibrated_by_caller("model", ["*q_proj*"], "out");
    assert_eq!(JobSettings::from_json(of_caller.to_json().as_bytes()).expect("sound"), of_caller);
    let short = br#"{"checkpoint": "model", "include": ["*q_proj*"], "out": "out"}"#;
    assert_eq!(JobSettings::from_json(short).expect("sound"), of_caller);
    settings.include = vec!["*q_proj*".to_owned()];
    settings.exclude = vec!["*lm_head*".to_owned()];
    settings.alias = [("k_proj".to_owned(), "q_proj".to_owned())].into();
    settings.options = every_option();
    settings.format = Format::SparseBitmask;
    settings.dtype = Some(FactorPrecision { left: Precision::F32, ..Precision::Bf16.into() });
    settings.transposed = Some(vec!["*.c_attn.weight".to_owned()]);
    settings.rename = [("model.".to_owned(), String::new())].into();
    (settings.resume, settings.check_values) = (true, false);
    let changes = OptionChanges::from_json(br#"{"preset": "paper", "block": [8, 16], "seed": 3}"#).expect("sound");
    settings.overrides = vec![Override::new(["a", "b.{0..3}"], changes)];
    assert_eq!(JobSettings::from_json(settings.to_json().as_bytes()).expect("sound"), settings);
}

#[test]
fn the_report_holds_the_options_in_the_words_of_the_settings() {
    let model = Model::new();
    let mut settings = model.settings("out");
    settings.options = settings.options.iterations(2).threads(2);
    let mut expected: Value = serde_json::from_str(&settings.options.to_json()).expect("JSON");
    expected.as_object_mut().expect("an object").remove("threads");
    expected["row_weighting"] = json!("nowag");
    expected["format"] = json!("factors");
    expected["dtype"] = Value::Null;
    expected["overrides"] = json!([]);
    let report: Value = serde_json::from_str(&run(settings).report().expect("finished")).expect("JSON");
    assert_eq!(report["settings"], expected);
}

#[test]
fn a_default_that_is_written_out_is_the_same_job() {
    let model = Model::new();
    let mut settings = model.settings("out");
    run(settings.clone());
    settings.resume = true;
    settings.options = settings.options.row_weighting(RowWeighting::NoWag).threads(1);
    assert!(Job::open(settings).expect("the same job").is_finished());
}

#[test]
fn an_error_keeps_its_source() {
    let source = |error: CheckpointError| std::error::Error::source(&error).map(ToString::to_string);
    let model = Model::new();
    let mut settings = model.settings("out");
    settings.hessians = Some(model.out("missing.safetensors"));
    let error = Job::open(settings).expect_err("there is no such file");
    let CheckpointError::Io { source: io, .. } = &error else { panic!("{error:?}") };
    assert_eq!(io.kind(), std::io::ErrorKind::NotFound);
    assert_eq!(source(error).expect("an error of the system").split(" (").next(), Some("No such file or directory"));
    let mut settings = model.settings("out");
    settings.options = settings.options.iterations(0);
    let error = Job::open(settings).expect_err("out of range");
    assert!(matches!(error, CheckpointError::Core(armor_core::Error::Option { name: "iterations", .. })), "{error:?}");
}

#[test]
fn jobs_are_shared_by_threads_and_shown() {
    fn shared<T: Send + Sync + std::fmt::Debug>(_: &T) {}
    let model = Model::new();
    let job = Job::open(model.settings("out")).expect("sound");
    shared(&job);
    let shown = format!("{job:?}");
    assert!(shown.starts_with("Job { settings: JobSettings {") && shown.ends_with("layers: 24, .. }"), "{shown}");
}
