//! The files beside the weights go along, and no program takes factors for plain weights.

use armor_core::{Factorization, Format};
use safetensors::Dtype;
use serde_json::{Value, json};

use crate::model::{Model, Tensor, output_names, read, run};
use crate::small::{SIZE, Small, named, report, square};

fn json_of(small: &Small, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(small.path(name)).expect("a file")).expect("JSON")
}

#[test]
fn all_files_but_weights_go_along() {
    let small = Small::new(&named([("a.weight", square(1))]), &named([("a.hessian_diag", Tensor::diagonal(SIZE, 1))]));
    let copied = [
        "1_Pooling/config.json",
        "LICENSE",
        "code/deep/er/notes",
        "code/modeling.py",
        "merges.txt",
        "training_args.bin",
        "vocab.bpe",
    ];
    let left = [
        (".git", "it belongs to version control or a download tool"),
        (".gitattributes", "it belongs to version control or a download tool"),
        (".parts", "the job uses this name itself"),
        ("armor-model.safetensors", "the job uses this name itself"),
        ("earlier", "it is the output of a job"),
        ("hessians.safetensors", "model.safetensors is read instead"),
        ("onnx/model.onnx", "it ends in .onnx, as files with weights do"),
        ("original/consolidated.00.pth", "it ends in .pth, as files with weights do"),
        ("pytorch_model.bin", "it ends in .bin, as files with weights do"),
        ("pytorch_model.bin.index.json", "it is an index of other weights"),
        ("report.json", "the job uses this name itself"),
    ];
    let folders = [".git", ".parts", "armor-model.safetensors", "earlier"];
    let files = left.iter().map(|(name, _)| *name).filter(|name| !folders.contains(name));
    let inner = [".git/a", ".parts/a", "armor-model.safetensors/a", "earlier/report.json", "earlier/summary.html"];
    for name in copied.into_iter().chain(files).chain(inner) {
        small.file(name, name);
    }
    let job = run(small.settings("model/compressed"));
    for name in copied {
        assert_eq!(std::fs::read_to_string(small.path("model/compressed").join(name)).ok().as_deref(), Some(name));
    }
    let report = report(&job);
    let told: Vec<(&str, &str)> = report["files_not_copied"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|file| (file["file"].as_str().expect("a text"), file["reason"].as_str().expect("a text")))
        .collect();
    assert_eq!(told, left);
    assert_eq!(report["files_copied"], json!(copied));
    let plan: Value = serde_json::from_str(&job.plan()).expect("JSON");
    let lists = |of: &Value| (of["files_copied"].clone(), of["files_not_copied"].clone());
    assert_eq!(lists(&plan), lists(&report));
    for (name, _) in left.iter().filter(|(name, _)| !["report.json", "armor-model.safetensors"].contains(name)) {
        assert!(!small.path("model/compressed").join(name).exists(), "{name}");
    }
}

#[test]
fn a_configuration_that_cannot_be_written_is_refused_at_once() {
    let weights = named([("a.weight", square(1))]);
    let small = Small::new(&weights, &named([("a.hessian_diag", Tensor::diagonal(SIZE, 1))]));
    for text in ["", "[1]", "{\"a\": }", "{\"a\": Infinit}"] {
        small.file("config.json", text);
        let told = small.refused(|_| {});
        assert!(told.starts_with("{folder}/model/config.json: is not a JSON object: "), "{told}");
    }
    small.file("config.json", "{\"limit\": [0.0, Infinity], \"model_type\": \"mamba2\"}");
    run(small.settings("out"));
    let written = std::fs::read_to_string(small.path("out/config.json")).expect("a file");
    assert!(written.contains("    Infinity\n") && written.contains("\"quant_method\": \"armor\""), "{written}");
}

#[test]
fn the_configuration_may_name_the_file_of_the_weights() {
    let hessians = named([("a.hessian_diag", Tensor::diagonal(SIZE, 1))]);
    let small = Small::new(&named([("a.weight", square(1))]), &hessians);
    crate::model::write(&small.path("model/other.safetensors"), &named([("a.weight", square(2))]));
    small.file("config.json", r#"{"transformers_weights": "other.safetensors"}"#);
    run(small.settings("out"));
    assert_eq!(json_of(&small, "out/config.json").get("transformers_weights"), None);
    let other = Small::new(&named([("a.weight", square(2))]), &hessians);
    run(other.settings("out"));
    let expected = read(&other.path("out/armor-model.safetensors"));
    assert_eq!(read(&small.path("out/armor-other.safetensors")), expected);
    small.file("config.json", r#"{"transformers_weights": "absent.safetensors"}"#);
    let told = small.refused(|_| {});
    let problem = "names absent.safetensors, which is no safetensors file or index of this folder";
    assert!(told.ends_with(problem), "{told}");
}

#[test]
fn a_model_that_is_compressed_already_is_refused() {
    let small = Small::new(&named([("a.weight", square(1))]), &named([("a.hessian_diag", Tensor::diagonal(SIZE, 1))]));
    run(small.settings("out"));
    let told = small.refused(|settings| settings.checkpoint = settings.out.with_file_name("out"));
    assert_eq!(told, "armor-model.safetensors: a.armor.left: is a factor: the model is compressed already");
}

#[cfg(unix)]
#[test]
fn links_are_followed_to_files_alone() {
    use std::os::unix::fs::symlink;
    let small = Small::new(&named([("a.weight", square(1))]), &named([("a.hessian_diag", Tensor::diagonal(SIZE, 1))]));
    std::fs::write(small.path("blob"), "tokens").expect("can be written");
    symlink("../blob", small.path("model/tokenizer.json")).expect("can be made");
    symlink("..", small.path("model/loop")).expect("can be made");
    symlink("../nothing", small.path("model/lost.json")).expect("can be made");
    let report = report(&run(small.settings("out")));
    assert_eq!(std::fs::read_to_string(small.path("out/tokenizer.json")).ok().as_deref(), Some("tokens"));
    assert!(!small.path("out/tokenizer.json").is_symlink());
    let expected = json!([
        {"file": "loop", "reason": "it is a link to a folder"}, {"file": "lost.json", "reason": "it is a link that leads nowhere"}
    ]);
    assert_eq!(report["files_not_copied"], expected);
}

#[test]
fn the_configuration_says_what_the_files_are() {
    for format in Format::ALL {
        let small = Small::new(
            &named([("a.weight", Tensor::weight(Dtype::F16, 64, 64, 1))]),
            &named([("a.hessian_diag", Tensor::diagonal(64, 1))]),
        );
        let text = r#"{"model_type": "llama", "quantization_config": {"quant_method": "bitsandbytes"}}"#;
        small.file("config.json", text);
        let mut settings = small.settings("out");
        settings.format = format;
        run(settings);
        let names: Vec<String> = std::fs::read_dir(small.path("out"))
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        if format == Format::Reconstructed {
            assert_eq!(std::fs::read_to_string(small.path("out/config.json")).ok().as_deref(), Some(text));
            assert!(names.contains(&"model.safetensors".to_owned()));
            continue;
        }
        assert!(
            names.contains(&"armor-model.safetensors".to_owned()) && !names.contains(&"model.safetensors".to_owned())
        );
        let config = json_of(&small, "out/config.json");
        let description = &config["quantization_config"];
        assert_eq!(config["model_type"], "llama");
        assert_eq!(description["quant_method"], "armor");
        assert_eq!(description["format"], format.as_str());
        assert_eq!(description["tensors"], json!(["a.weight"]));
        assert_eq!(description["base"]["quant_method"], "bitsandbytes");
    }
}

#[test]
fn the_index_counts_what_is_there() {
    for format in [Format::Factors, Format::Reconstructed] {
        let model = Model::new();
        let path = model.path().join("model.safetensors.index.json");
        let mut index: Value = serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("JSON");
        index["metadata"] = json!({"total_size": 1, "total_parameters": 77, "note": "kept"});
        std::fs::write(&path, index.to_string()).expect("can be written");
        let mut settings = model.settings("out");
        settings.format = format;
        run(settings);
        let (shards, name) = output_names(format);
        let index: Value =
            serde_json::from_slice(&std::fs::read(model.out("out").join(name)).expect("a file")).expect("JSON");
        let tensors = shards.iter().flat_map(|shard| read(&model.out("out").join(shard)));
        let bytes: usize = tensors.map(|(_, tensor)| tensor.bytes.len()).sum();
        let mut expected = json!({"total_size": bytes, "note": "kept"});
        if format == Format::Reconstructed {
            expected["total_parameters"] = json!(77);
        }
        assert_eq!(index["metadata"], expected);
    }
}

#[test]
fn reading_factors_from_another_format_names_that_format() {
    for (format, key) in [
        (Format::DenseCore, "a.armor.core.dense"),
        (Format::SparseBitmask, "a.compressed"),
        (Format::Cutlass, "a.armor.core.packed"),
        (Format::Reconstructed, "a.weight"),
    ] {
        let small = Small::new(
            &named([("a.weight", Tensor::weight(Dtype::F16, 64, 64, 1))]),
            &named([("a.hessian_diag", Tensor::diagonal(64, 1))]),
        );
        let mut settings = small.settings("out");
        settings.format = format;
        run(settings);
        let name = if format == Format::Reconstructed { "model.safetensors" } else { "armor-model.safetensors" };
        let bytes = std::fs::read(small.path("out").join(name)).expect("a file");
        let told = Factorization::from_safetensors(&bytes, "a").expect_err("holds no factors").to_string();
        let problem = match format {
            Format::Reconstructed => "is a dense weight, without factors".to_owned(),
            _ => format!("is a tensor of the format {format}"),
        };
        assert!(told.ends_with(&format!("{key}: {problem}; only the format factors can be read")), "{told}");
    }
}
