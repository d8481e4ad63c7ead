//! Other options for some layers: each runs with its own, and only what a job writes for it tells of them.

use armor_core::checkpoint::{Job, JobSettings, Override};
use armor_core::{Descent, Hessian, Layer, OptionChanges, Options};
use serde_json::{Value, json};

use crate::model::{Model, Tensor, files, resumed, run};
use crate::small::{SIZE, Small, layers, named, report, square};

fn changes(json: &str) -> OptionChanges {
    OptionChanges::from_json(json.as_bytes()).expect("sound")
}

/// Four square weights.
fn small() -> Small {
    let weights = named([0, 1, 2, 3].map(|index| (["a.0.x", "a.1.x", "a.2.x", "a.2.y"][index], square(index as u64))));
    let hessians = weights.keys().map(|name| (format!("{name}.hessian_diag"), Tensor::diagonal(SIZE, 9))).collect();
    Small::new(&weights, &hessians)
}

fn overridden(small: &Small, out: &str) -> JobSettings {
    let mut settings = small.settings(out);
    settings.overrides = vec![
        Override::new(["a.{1..2}.*"], changes(r#"{"left_block": 8, "seed": 5}"#)),
        Override::new(["*.y"], changes(r#"{"left_block": 2, "pattern": "1:4"}"#)),
    ];
    settings
}

#[test]
fn every_layer_has_the_options_of_its_last_override() {
    let small = small();
    let job = Job::open(overridden(&small, "out")).expect("sound");
    let of_job = job.settings().options.clone();
    let expected = [
        of_job.clone(),
        of_job.clone().left_block(8).seed(5),
        of_job.clone().left_block(8).seed(5),
        of_job.clone().left_block(8).seed(5).left_block(2).pattern("1:4".parse().expect("a pattern")),
    ];
    let found: Vec<&Options> = job.layers().iter().map(|layer| &layer.options).collect();
    assert_eq!(layers(&job), ["a.0.x", "a.1.x", "a.2.x", "a.2.y"]);
    assert_eq!(found, expected.iter().collect::<Vec<_>>());
    // What each layer becomes is what its options make of it alone.
    job.run(2, &|_| {}).expect("runs");
    for (index, options) in expected.iter().enumerate() {
        let values: Vec<f32> = square(index as u64).values().iter().map(|&value| value as f32).collect();
        let weight = ndarray::Array2::from_shape_vec((SIZE, SIZE), values).expect("square");
        let diagonal = ndarray::Array1::from(Tensor::diagonal(SIZE, 9).values());
        let hessian = Hessian::from_diagonal(&diagonal).expect("sound");
        let layer = Layer::new(&weight, hessian).expect("sound");
        let alone = Descent::new(options).expect("sound").run(&layer).expect("runs");
        assert_eq!(job.layer_weight(index).expect("done"), alone.reconstruct());
    }
    job.finish(&|_, _| {}).expect("finishes");
    let (report, plan) = (report(&job), serde_json::from_str::<Value>(&job.plan()).expect("JSON"));
    let differing = [
        json!({}),
        json!({"left_block": 8, "seed": 5}),
        json!({"left_block": 8, "seed": 5}),
        json!({"left_block": 2, "seed": 5, "pattern": "1:4"}),
    ];
    for (index, differing) in differing.iter().enumerate() {
        assert_eq!(&plan["layers"][index]["options"], differing);
        assert_eq!(report["layers"][index].get("options").unwrap_or(&json!({})), differing);
    }
    assert_eq!(
        report["settings"]["overrides"][0],
        json!({"layers": ["a.{1..2}.*"], "options": {"left_block": 8, "seed": 5}})
    );
}

#[test]
fn the_configuration_of_the_output_names_the_tensors_of_other_shapes() {
    let small = small();
    small.file("config.json", r#"{"model_type": "llama"}"#);
    run(overridden(&small, "out"));
    let config = std::fs::read_to_string(small.path("out/config.json")).expect("written");
    let config: Value = serde_json::from_str(&config).expect("JSON");
    let (x, y) = (
        json!({"pattern": "2:4", "left_block": 8, "right_block": 4}),
        json!({"pattern": "1:4", "left_block": 2, "right_block": 4}),
    );
    assert_eq!(config["quantization_config"]["exceptions"], json!({"a.1.x": x, "a.2.x": x, "a.2.y": y}));
}

#[test]
fn an_override_that_changes_nothing_is_the_same_job() {
    let model = Model::new();
    let plain = model.settings("plain");
    run(plain.clone());
    let mut settings = model.settings("out");
    settings.overrides = vec![Override::new(["*.mlp.*"], changes(r#"{"iterations": 6}"#))];
    run(settings.clone());
    let (mut ours, mut theirs) = (files(&plain.out), files(&settings.out));
    for name in ["report.json", "summary.html"] {
        ours.remove(name);
        theirs.remove(name);
    }
    assert_eq!(ours, theirs);
}

#[test]
fn a_job_with_other_overrides_is_another_job() {
    let model = Model::new();
    let mut settings = model.settings("out");
    settings.overrides = vec![Override::new(["*.mlp.*"], changes(r#"{"iterations": 5}"#))];
    let job = Job::open(settings.clone()).expect("sound");
    job.run_layer(0, |_| std::ops::ControlFlow::Continue(())).expect("runs");
    drop(job);
    let mut other = resumed(&settings);
    other.overrides[0].options.iterations = Some(4);
    let told = Job::open(other).expect_err("another").to_string();
    assert!(told.contains("iterations is 5 there, 4 here"), "{told}");
    Job::open(resumed(&settings)).expect("the same");
    run(resumed(&settings));
    let mut other = resumed(&settings);
    other.overrides.clear();
    let told = Job::open(other).expect_err("another").to_string();
    assert!(told.contains("holds another job, which is finished"), "{told}");
}

#[test]
fn the_objective_of_a_layer_decides_which_hessian_it_takes() {
    let weights = named([("a.weight", square(1)), ("b.weight", square(2))]);
    let whole = |seed| {
        let diagonal = Tensor::diagonal(SIZE, seed).values();
        let entry = |at: usize| if at.is_multiple_of(SIZE + 1) { diagonal[at / (SIZE + 1)] as f32 + 1.0 } else { 0.25 };
        Tensor::new(safetensors::Dtype::F32, &[SIZE, SIZE], (0..SIZE * SIZE).map(entry))
    };
    let hessians = named([
        ("a.hessian_diag", Tensor::diagonal(SIZE, 3)),
        ("a.hessian", whole(3)),
        ("b.hessian_diag", Tensor::diagonal(SIZE, 4)),
        ("b.hessian", whole(4)),
    ]);
    let small = Small::new(&weights, &hessians);
    let mut settings = small.settings("out");
    settings.overrides = vec![Override::new(["b.weight"], changes(r#"{"objective": "full"}"#))];
    let job = run(settings);
    let hessians: Vec<_> = job.layers().iter().map(|layer| layer.hessian.as_deref()).collect();
    assert_eq!(hessians, [Some("a.hessian_diag"), Some("b.hessian")]);
}

#[test]
fn wrong_overrides_are_refused_by_name() {
    let small = small();
    let refused = |layers: &[&str], json: &str| {
        small.refused(|settings| {
            settings.overrides =
                vec![Override::new(["a.0.x"], changes("{}")), Override::new(layers.iter().copied(), changes(json))];
        })
    };
    for (layers, json, expected) in [
        (&[][..], "{}", "overrides[1].layers: is empty, expected globs of tensors"),
        (&["b"], "{}", "overrides[1].layers: \"b\" matches no tensor"),
        (&["a.{3..1}"], "{}", "3 comes after 1"),
        (&["*.y"], r#"{"threads": 2}"#, "overrides[1].options.threads: is the number of threads of the whole job"),
        (&["*.y"], r#"{"iterations": 0}"#, "overrides[1].options: option iterations: 0 is out of range"),
        (&["*.y"], r#"{"right_block": 6}"#, "a.2.y: its options do not fit: option right_block"),
    ] {
        let told = refused(layers, json);
        assert!(told.contains(expected), "{told}");
    }
    let told = small.refused(|settings| {
        settings.exclude = vec!["*.y".to_owned()];
        settings.overrides = vec![Override::new(["*.y"], changes(r#"{"seed": 1}"#))];
    });
    assert!(told.contains("overrides[0].layers: matches no tensor that is compressed"), "{told}");
    let json = br#"{"checkpoint": "m", "hessians": "h", "out": "o", "overrides": [{"layers": ["a"], "options": {"blok": 3}}]}"#;
    let told = JobSettings::from_json(json).expect_err("unknown").to_string();
    assert!(told.contains("overrides[0].options") && told.contains("blok"), "{told}");
}
