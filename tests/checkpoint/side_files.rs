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
    let copied =
        ["vocab.bpe", "merges.txt", "LICENSE", "code/modeling.py", "code/deep/er/notes", "1_Pooling/config.json"];
    for name in copied {
        small.file(name, name);
    }
    let left = [
        ("pytorch_model.bin", "holds weights of the uncompressed model"),
        ("onnx/model.onnx", "holds weights of the uncompressed model"),
        ("original/consolidated.00.pth", "holds weights of the uncompressed model"),
        ("pytorch_model.bin.index.json", "is an index of other weights"),
        ("report.json", "is replaced by the job's own file"),
        (".gitattributes", "belongs to version control or a download tool"),
    ];
    for (name, _) in left {
        small.file(name, name);
    }
    small.file(".git/config", "x");
    let job = run(small.settings("model/compressed"));
    for name in copied {
        assert_eq!(std::fs::read_to_string(small.path("model/compressed").join(name)).ok().as_deref(), Some(name));
    }
    let report = report(&job);
    let mut told: Vec<(&str, &str)> = report["files_not_copied"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|file| (file["file"].as_str().expect("a text"), file["reason"].as_str().expect("a text")))
        .collect();
    told.sort_unstable();
    let mut expected = left.to_vec();
    expected.push((".git", "belongs to version control or a download tool"));
    expected.sort_unstable();
    assert_eq!(told, expected);
    for (name, _) in left.iter().filter(|(name, _)| *name != "report.json") {
        assert!(!small.path("model/compressed").join(name).exists(), "{name}");
    }
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
        {"file": "loop", "reason": "is a link to a folder"}, {"file": "lost.json", "reason": "is a link that leads nowhere"}
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
            names.contains(&"model.armor.safetensors".to_owned()) && !names.contains(&"model.safetensors".to_owned())
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
        let name = if format == Format::Reconstructed { "model.safetensors" } else { "model.armor.safetensors" };
        let bytes = std::fs::read(small.path("out").join(name)).expect("a file");
        let told = Factorization::from_safetensors(&bytes, "a").expect_err("holds no factors").to_string();
        let problem = match format {
            Format::Reconstructed => "is a dense weight, without factors".to_owned(),
            _ => format!("is a tensor of the format {format}"),
        };
        assert!(told.ends_with(&format!("{key}: {problem}; only the format factors can be read")), "{told}");
    }
}
