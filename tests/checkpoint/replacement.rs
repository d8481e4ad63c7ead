//! Other factors in the place of those of a finished layer.

use std::ops::ControlFlow;

use armor_core::checkpoint::{CheckpointError, Job};
use armor_core::{Factorization, Precision};

use crate::model::{Tensor, files, resumed};
use crate::small::{SIZE, Small, named, report, square};

/// Two square weights.
fn small() -> Small {
    let weights = named([("a.weight", square(1)), ("b.weight", square(2))]);
    let hessian = || Tensor::diagonal(SIZE, 3);
    Small::new(&weights, &named([("a.hessian_diag", hessian()), ("b.hessian_diag", hessian())]))
}

fn begun(small: &Small, out: &str) -> Job {
    let job = Job::open(small.settings(out)).expect("sound");
    job.run_layer(0, |_| ControlFlow::Continue(())).expect("runs");
    job
}

/// Factors whose values are rounded to bf16: others of the same shape.
fn others(job: &Job) -> Factorization {
    job.layer_factors(0).expect("done").rounded(Precision::Bf16).expect("fits")
}

#[track_caller]
fn message<T>(result: Result<T, CheckpointError>) -> String {
    result.err().expect("must be refused").to_string()
}

#[test]
fn the_output_has_the_factors_that_were_put_there() {
    let small = small();
    let job = begun(&small, "out");
    let (own, other) = (job.layer_factors(0).expect("done"), others(&job));
    assert_ne!(own, other);
    assert_eq!(own.reconstruct(), job.layer_weight(0).expect("done"));
    job.replace_layer(0, &other).expect("alike");
    assert_eq!(job.layer_factors(0).expect("done"), other);
    assert_eq!(job.layer_weight(0).expect("done"), other.reconstruct());
    job.run(1, &|_| {}).expect("runs");
    job.finish(&|_, _| {}).expect("finishes");
    assert_eq!(job.layer_factors(0).expect("stored"), other);
    assert_eq!(job.layer_weight(0).expect("stored"), other.reconstruct());
    let found = report(&job);
    assert_eq!(found["layers"][0]["loss"].as_f64(), Some(other.loss()));
}

#[test]
fn factors_that_are_put_there_twice_are_the_same_output() {
    let small = small();
    for (out, times) in [("once", 1), ("twice", 2)] {
        let job = begun(&small, out);
        let other = others(&job);
        (0..times).for_each(|_| job.replace_layer(0, &other).expect("alike"));
        drop(job);
        let job = Job::open(resumed(&small.settings(out))).expect("the same");
        job.run(1, &|_| {}).expect("runs");
        job.finish(&|_, _| {}).expect("finishes");
    }
    assert_eq!(files(&small.path("once")), files(&small.path("twice")));
}

#[test]
fn factors_of_another_layer_and_layers_that_are_not_done_are_refused() {
    let small = small();
    let job = begun(&small, "out");
    let other = others(&job);
    assert_eq!(message(job.replace_layer(1, &other)), "job: layer 1, b.weight, is not done");
    assert_eq!(message(job.layer_factors(1)), "job: layer 1, b.weight, is not done");
    let before = files(&small.path("out/.parts"));
    for (change, expected) in [
        (r#"{"left_block": 8}"#, "option left_block: 8 is out of range, expected that of the layer"),
        (r#"{"right_block": 8}"#, "option right_block: 8 is out of range, expected that of the layer"),
        (r#"{"pattern": "1:4"}"#, "option pattern: 1:4 is out of range, expected that of the layer"),
    ] {
        let mut settings = small.settings("other");
        settings.options =
            armor_core::OptionChanges::from_json(change.as_bytes()).expect("sound").over(&settings.options);
        settings.include = vec!["*".to_owned()];
        let job_of_others = Job::open(settings).expect("sound");
        job_of_others.run_layer(0, |_| ControlFlow::Continue(())).expect("runs");
        let told = message(job.replace_layer(0, &job_of_others.layer_factors(0).expect("done")));
        assert!(told.ends_with(expected), "{told}");
        std::fs::remove_dir_all(small.path("other")).expect("a folder");
    }
    assert_eq!(files(&small.path("out/.parts")), before);
    job.run(1, &|_| {}).expect("runs");
    job.finish(&|_, _| {}).expect("finishes");
    let told = message(job.replace_layer(0, &other));
    assert_eq!(told, "job: layer 0, a.weight, cannot be replaced any more: the job is finished");
}
