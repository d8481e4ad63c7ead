//! The files that are read are those that `transformers` reads; the others are listed.

use armor_core::checkpoint::Job;
use serde_json::{Value, json};

use crate::model::{Tensor, Tensors, read, run, write};
use crate::small::{SIZE, Small, layers, named, report, square};

/// One weight, with its Hessian.
fn one_weight() -> Small {
    Small::new(&named([("a.weight", square(1))]), &named([("a.hessian_diag", Tensor::diagonal(SIZE, 1))]))
}

fn index(small: &Small, name: &str, tensors: &Tensors, shard: &str) {
    write(&small.path("model").join(shard), tensors);
    let map: serde_json::Map<String, Value> = tensors.keys().map(|key| (key.clone(), json!(shard))).collect();
    small.file(name, &json!({"metadata": {}, "weight_map": map}).to_string());
}

fn skipped(job: &Job, key: &str) -> Vec<(String, String)> {
    let plan: Value = serde_json::from_str(&job.plan()).expect("JSON");
    let text = |file: &Value, key: &str| file[key].as_str().expect("a text").to_owned();
    plan[key].as_array().expect("a list").iter().map(|file| (text(file, "file"), text(file, "reason"))).collect()
}

fn pair(file: &str, reason: &str) -> (String, String) {
    (file.to_owned(), reason.to_owned())
}

#[test]
fn a_single_file_is_read_before_a_stale_index() {
    let small = one_weight();
    let stale = named([("a.weight", square(2)), ("b.weight", square(3))]);
    index(&small, "model.safetensors.index.json", &stale, "model-00001-of-00001.safetensors");
    let job = run(small.settings("out"));
    assert_eq!(layers(&job), ["a.weight"]);
    let why = "model.safetensors is read instead";
    let expected = [pair("model-00001-of-00001.safetensors", why), pair("model.safetensors.index.json", why)];
    assert_eq!(skipped(&job, "checkpoint_files_not_read"), expected);
    let fresh = one_weight();
    run(fresh.settings("out"));
    let name = "out/armor-model.safetensors";
    assert_eq!(read(&small.path(name)), read(&fresh.path(name)));
    let written = std::fs::read_dir(small.path("out")).expect("a folder").count();
    assert_eq!(written, 3, "the compressed file, the report and the summary");
    assert_eq!(report(&job)["files_not_copied"].as_array().map(Vec::len), Some(2));
}

#[test]
fn of_two_indices_the_one_that_transformers_reads() {
    let small = one_weight();
    std::fs::remove_file(small.path("model/model.safetensors")).expect("was there");
    index(&small, "consolidated.safetensors.index.json", &named([("x", square(9))]), "consolidated-1.safetensors");
    index(
        &small,
        "model.safetensors.index.json",
        &named([("a.weight", square(1))]),
        "model-00001-of-00001.safetensors",
    );
    let job = run(small.settings("out"));
    assert_eq!(layers(&job), ["a.weight"]);
    let not_read = skipped(&job, "checkpoint_files_not_read");
    let why = "model.safetensors.index.json does not name it";
    assert_eq!(
        not_read,
        ["consolidated-1.safetensors", "consolidated.safetensors.index.json"].map(|file| pair(file, why))
    );
    std::fs::rename(small.path("model/model.safetensors.index.json"), small.path("model/other.safetensors.index.json"))
        .expect("was there");
    assert_eq!(layers(&Job::open(small.settings("other")).expect("sound")), ["a.weight"]);
    small.file("third.safetensors.index.json", "{}");
    let told = small.refused(|_| {});
    assert!(told.starts_with("{folder}/model: has two indices, "), "{told}");
}

#[test]
fn files_of_another_layout_and_hessians_are_no_shards() {
    let small = one_weight();
    let model = small.path("model");
    std::fs::rename(model.join("model.safetensors"), model.join("weights.safetensors")).expect("was there");
    write(&model.join("consolidated.safetensors"), &named([("a.weight", square(5))]));
    write(&model.join("hessians.safetensors"), &read(&small.path("hessians.safetensors")));
    let mut settings = small.settings("out");
    settings.hessians = Some(model.clone());
    let job = run(settings);
    assert_eq!(layers(&job), ["a.weight"]);
    let expected = [
        pair("consolidated.safetensors", "the other files hold the same model"),
        pair("hessians.safetensors", "it holds Hessians"),
    ];
    assert_eq!(skipped(&job, "checkpoint_files_not_read"), expected);
    let expected = ["consolidated.safetensors", "weights.safetensors"].map(|file| pair(file, "it holds no Hessian"));
    assert_eq!(skipped(&job, "hessian_files_not_read"), expected);
}

#[test]
fn names_of_an_index_that_lead_elsewhere() {
    for name in ["../a.safetensors", "C:a.safetensors", "report.json", "a/b.safetensors", ""] {
        let small = one_weight();
        std::fs::remove_file(small.path("model/model.safetensors")).expect("was there");
        small.file("model.safetensors.index.json", &json!({"weight_map": {"a.weight": name}}).to_string());
        let told = small.refused(|_| {});
        assert!(told.ends_with("a.weight: is not the name of a safetensors file in this folder"), "{name}: {told}");
    }
    let small = one_weight();
    std::fs::remove_file(small.path("model/model.safetensors")).expect("was there");
    let map = json!({"weight_map": {"a.weight": "A.safetensors", "b.weight": "a.safetensors"}});
    small.file("model.safetensors.index.json", &map.to_string());
    let told = small.refused(|_| {});
    assert!(told.ends_with("names A.safetensors and a.safetensors, which differ in case only"), "{told}");
}
