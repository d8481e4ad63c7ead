//! Every tensor is compressed, or copied for a reason that is listed; every Hessian matches a weight, or is listed.

use std::collections::BTreeMap;

use armor_core::checkpoint::Job;
use safetensors::Dtype;

use crate::model::{Tensor, Tensors, read, run};
use crate::small::{SIZE, Small, layers, named, report, square};

/// A Hessian's diagonal for every weight of two axes.
fn hessians_of(weights: &Tensors) -> Tensors {
    let matrices = weights.iter().filter(|(_, tensor)| tensor.shape.len() == 2);
    let diagonal = |(name, tensor): (&String, &Tensor)| {
        let stem = name.strip_suffix(".weight").unwrap_or(name);
        (format!("{stem}.hessian_diag"), Tensor::diagonal(tensor.shape[1], 1))
    };
    matrices.map(diagonal).collect()
}

#[test]
fn what_gains_nothing_is_left_alone_and_listed() {
    let f32_of = |rows, cols, seed| Tensor::weight(Dtype::F32, rows, cols, seed);
    let weights = named([
        ("lm_head.weight", f32_of(64, SIZE, 1)),
        ("model.embed_tokens.weight", f32_of(64, SIZE, 2)),
        ("model.layers.0.mlp.gate.weight", f32_of(8, SIZE, 3)),
        ("model.layers.0.mlp.experts.router.weight", f32_of(8, SIZE, 4)),
        ("model.layers.0.mlp.shared_expert_gate.weight", f32_of(1, SIZE, 5)),
        ("model.layers.0.mlp.value.weight", f32_of(1, SIZE, 6)),
        ("model.layers.0.mlp.up_proj.weight", square(7)),
        ("model.layers.0.mlp.small_proj.weight", f32_of(4, 4, 8)),
        ("model.layers.0.mlp.gate_proj.gate.weight", f32_of(64, SIZE, 9)),
        ("model.layers.0.norm.weight", Tensor::diagonal(SIZE, 10)),
        ("model.conv.weight", Tensor::new(Dtype::F32, &[2, 2, 2, 2], (0..16).map(|at| at as f32))),
        ("model.counts", crate::small::integers(&[1, 2])),
    ]);
    let mut hessians = hessians_of(&weights);
    hessians.remove("model.layers.0.mlp.value.hessian_diag");
    let small = Small::new(&weights, &hessians);
    let job = run(small.settings("out"));
    assert_eq!(layers(&job), ["model.layers.0.mlp.gate_proj.gate.weight", "model.layers.0.mlp.up_proj.weight"]);
    let reasons: BTreeMap<&str, &str> =
        job.copied().iter().map(|tensor| (tensor.name.as_str(), tensor.reason.as_str())).collect();
    let expected = [
        ("lm_head.weight", "is an output layer"),
        ("model.conv.weight", "has 4 axes"),
        ("model.counts", "is I64"),
        ("model.embed_tokens.weight", "is an embedding"),
        ("model.layers.0.mlp.experts.router.weight", "is a router of experts"),
        ("model.layers.0.mlp.gate.weight", "is a router of experts"),
        ("model.layers.0.mlp.shared_expert_gate.weight", "is a router of experts"),
        ("model.layers.0.mlp.small_proj.weight", "would grow from 64 to 164 bytes in blocks of 4"),
        ("model.layers.0.mlp.value.weight", "has no Hessian"),
        ("model.layers.0.norm.weight", "has one axis"),
    ];
    assert_eq!(reasons, expected.into());
    let found = read(&small.path("out/armor-model.safetensors"));
    assert!(expected.iter().all(|(name, _)| found[*name] == weights[*name]), "copied bit for bit");
    let report = report(&job);
    assert_eq!(report["copied"].as_array().map(Vec::len), Some(expected.len()));
    let layer = &report["layers"][1];
    let stored = found.iter().filter(|(name, _)| name.contains("up_proj.armor.") && !name.ends_with("history"));
    let bytes: usize = stored.map(|(_, tensor)| tensor.bytes.len()).sum();
    assert_eq!((&layer["bytes_before"], &layer["bytes_after"]), (&(4 * SIZE * SIZE).into(), &bytes.into()));

    let mut all = small.settings("all");
    all.include = vec!["*mlp.gate.weight".to_owned(), "lm_head.weight".to_owned()];
    assert_eq!(
        layers(&Job::open(all).expect("named, so compressed")),
        ["lm_head.weight", "model.layers.0.mlp.gate.weight"]
    );
    let told = Small::new(
        &named([("a.weight", Tensor::weight(Dtype::F32, 4, 4, 8))]),
        &named([("a.hessian_diag", Tensor::diagonal(4, 1))]),
    )
    .refused(|_| {});
    assert!(told.ends_with("left alone; a.weight would grow from 64 to 164 bytes in blocks of 4"), "{told}");
}

#[test]
fn the_size_that_is_foretold_is_the_size_that_is_written() {
    for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
        for (rows, cols) in [(32, 64), (33, 60), (70, 36)] {
            let weight = Tensor::weight(dtype, rows, cols, 1);
            let small =
                Small::new(&named([("a.weight", weight)]), &named([("a.hessian_diag", Tensor::diagonal(cols, 1))]));
            let told = small
                .refused(|settings| settings.options = settings.options.clone().left_block(rows).right_block(cols));
            let foretold: usize = told
                .split(" to ")
                .nth(1)
                .and_then(|rest| rest.split(' ').next())
                .expect("a size")
                .parse()
                .expect("a number");
            let mut settings = small.settings("out");
            settings.options = settings.options.left_block(rows).right_block(cols);
            settings.include = vec!["a.weight".to_owned()];
            let report = report(&run(settings));
            // The shape of the core is two numbers of eight bytes.
            assert_eq!(report["layers"][0]["bytes_after"], foretold + 16);
        }
    }
}

#[test]
fn hessians_and_weights_that_do_not_match_are_listed_side_by_side() {
    let weights = named([
        ("model.language_model.layers.0.q_proj.weight", square(1)),
        ("model.language_model.layers.0.o_proj.weight", square(2)),
    ]);
    let hessians = named([
        ("model.layers.0.q_proj.hessian_diag", Tensor::diagonal(SIZE, 1)),
        ("model.layers.0.o_proj.hessian_diag", Tensor::diagonal(SIZE, 2)),
    ]);
    let small = Small::new(&weights, &hessians);
    let both = "model.layers.0.o_proj.hessian_diag matches no weight, but the checkpoint has \
                model.language_model.layers.0.o_proj.weight";
    let told = small.refused(|_| {});
    assert!(told.contains("no tensor is selected") && told.ends_with(both), "{told}");
    let told = small.refused(|settings| settings.include = vec!["*o_proj.weight".to_owned()]);
    assert!(told.ends_with("; the most similar name there is model.layers.0.o_proj.hessian_diag"), "{told}");

    let mut settings = small.settings("renamed");
    settings.rename = [("model.language_model.".to_owned(), "model.".to_owned())].into();
    let job = Job::open(settings).expect("the names match");
    assert_eq!((job.layers().len(), job.unmatched_hessians().len()), (2, 0));
    assert!(job.warnings().all(|told| told.contains("square weights are taken as")));
    let told = small.refused(|settings| settings.rename = [("x.".to_owned(), "model.".to_owned())].into());
    assert_eq!(told, "{folder}/model: rename: x.=model.: no tensor has a name that starts with \"x.\"");

    let mut partly = hessians;
    partly.insert("model.language_model.layers.0.q_proj.hessian_diag".to_owned(), Tensor::diagonal(SIZE, 3));
    let small = Small::new(&weights, &partly);
    let job = run(small.settings("out"));
    assert_eq!(layers(&job), ["model.language_model.layers.0.q_proj.weight"]);
    let told: Vec<&str> = job.warnings().collect();
    assert_eq!(told[..1], [format!("2 of 3 Hessians match no weight: {both}; see the setting \"rename\"")]);
    let report = report(&job);
    assert_eq!(report["unmatched_hessians"].as_array().map(Vec::len), Some(2));
    assert_eq!(report["unmatched_hessians"][1]["hessian"], "model.layers.0.q_proj.hessian_diag");
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let weights = named([
        ("a.weight", Tensor::weight(Dtype::F32, SIZE, 30, 1)),
        ("b.weight", square(2)),
        ("c.weight", square(3)),
    ]);
    let mut hessians = hessians_of(&weights);
    hessians.insert("c.hessian_diag".to_owned(), Tensor::diagonal(31, 1));
    let small = Small::new(&weights, &hessians);
    assert_eq!(
        small.refused(|_| {}),
        "2 inputs are refused:\nmodel.safetensors: a.weight: 30 columns are not a multiple of 4, the group of 2:4\n\
         hessians.safetensors: c.hessian_diag: has shape [31], expected [32] for c.weight of 32 × 32"
    );
    let broken = |seed: u64, at: [usize; 2]| {
        let mut values = crate::common::weight(SIZE, SIZE, seed);
        values[at] = f32::NAN;
        Tensor::new(Dtype::F32, &[SIZE, SIZE], values)
    };
    let weights = named([("a.weight", broken(1, [3, 5])), ("b.weight", square(2)), ("c.weight", broken(3, [0, 31]))]);
    let told = Small::new(&weights, &hessians_of(&weights)).refused(|_| {});
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 3, "{told}");
    assert!(lines[1].contains("a.weight: weight: entry [3, 5] is NaN"), "{told}");
    assert!(lines[2].contains("c.weight: weight: entry [0, 31] is NaN"), "{told}");
}
