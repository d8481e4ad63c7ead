//! A tiny random Llama, dense and with factors that a job wrote: logits and texts against a forward pass in f64.

mod folder;
mod reference;

use std::path::Path;
use std::process::{Command, Output};

use armor_candle::Model;
use serde_json::json;

use crate::folder::{Folder, Variant, qwen2, tied, untied};
use crate::reference::Reference;

const PROMPT: [u32; 9] = [3, 14, 15, 9, 26, 5, 35, 8, 9];

/// The largest difference of the logits, relative to the largest logit.
fn distance(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
    found.iter().zip(expected).fold(0.0, |distance: f64, (&a, b)| distance.max((f64::from(a) - b).abs())) / largest
}

/// The logits of a folder after every token of the prompt that ends a chunk.
fn logits(folder: &Path, chunks: &[usize]) -> Vec<(usize, Vec<f32>)> {
    let mut model = Model::load(folder).unwrap();
    let mut seen = 0;
    let chunk = |&count: &usize| {
        seen += count;
        (seen - 1, model.forward(&PROMPT[seen - count..seen]).unwrap())
    };
    chunks.iter().map(chunk).collect()
}

fn check(variant: &Variant) {
    let folder = Folder::new(variant);
    let references = [folder.dense(), folder.compressed()].map(|folder| Reference::read(&folder).logits(&PROMPT));
    for (path, expected) in [folder.dense(), folder.compressed()].iter().zip(&references) {
        for chunks in [&[9][..], &[1; 9], &[4, 1, 3, 1]] {
            for (at, found) in logits(path, chunks) {
                let distance = distance(&found, &expected[at]);
                assert!(distance < 1e-5, "{}, {chunks:?}, token {at}: {distance}", path.display());
            }
        }
    }
    // The two models are so different that no test can take one for the other.
    let (at, found) = logits(&folder.compressed(), &[9]).pop().unwrap();
    assert!(distance(&found, &references[0][at]) > 1e-2);
}

#[test]
fn tied_embeddings_in_shards_of_bf16() {
    check(&tied());
}

#[test]
fn biases_wide_heads_and_mixed_factors() {
    check(&untied());
}

#[test]
fn biases_of_qwen2() {
    check(&qwen2());
}

#[test]
fn the_bytes_are_those_of_what_is_loaded() {
    let folder = Folder::new(&untied());
    let numbers: usize = {
        let tensors =
            candle_core::safetensors::load(folder.dense().join("model.safetensors"), &candle_core::Device::Cpu);
        tensors.unwrap().values().map(candle_core::Tensor::elem_count).sum()
    };
    assert_eq!(Model::load(&folder.dense()).unwrap().bytes, 4 * numbers);
}

fn program(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_armor-candle")).args(arguments).output().unwrap()
}

fn words(tokens: &[u32]) -> String {
    tokens.iter().map(|token| format!("w{token}")).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_program_writes_the_likeliest_text_and_compares() {
    let folder = Folder::new(&tied());
    let (dense, compressed) = (folder.dense(), folder.compressed());
    let [expected, other] = [&compressed, &dense].map(|folder| Reference::read(folder).greedy(&PROMPT, 12));
    let first = expected.iter().zip(&other).position(|(a, b)| a != b).expect("another text");
    let (dense, compressed) = (dense.to_str().unwrap(), compressed.to_str().unwrap());

    let output = program(&[compressed, &words(&PROMPT), "--tokens", "12", "--against", dense]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{}\n", words(&expected)));
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with(&format!("{compressed}: 9 tokens of prompt, ")), "{said}");
    assert!(lines[1].starts_with(&format!("{dense}: 9 tokens of prompt, ")), "{said}");
    let (a, b) = (words(&expected[first..=first]), words(&other[first..=first]));
    let difference = format!("the first difference is token {}: {a:?}, and {b:?} of the other model", first + 1);
    assert_eq!(lines[2..], [difference]);

    let output = program(&[compressed, &words(&PROMPT), "--tokens", "12", "--against", compressed]);
    assert_eq!(String::from_utf8(output.stderr).unwrap().lines().last(), Some("all 12 tokens are the same"));
}

#[test]
fn the_program_stops_where_the_model_ends_the_text() {
    let folder = Folder::new(&untied());
    let expected = Reference::read(&folder.compressed()).greedy(&PROMPT, 12);
    let end = (0..12).find(|&at| at > 2 && !expected[..at].contains(&expected[at])).expect("a new token");
    for ends in [json!(expected[end]), json!([folder::VOCABULARY, expected[end]])] {
        folder.change("config.json", |config| config["eos_token_id"] = ends);
        let output = program(&[folder.compressed().to_str().unwrap(), &words(&PROMPT), "--tokens", "12"]);
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{}\n", words(&expected[..=end])));
    }
}

#[test]
fn the_program_refuses_other_models_by_name() {
    let changes = [
        ("model_type", json!("gpt2"), "model_type is \"gpt2\", expected llama, mistral, qwen2"),
        ("hidden_act", json!("gelu"), "hidden_act is \"gelu\", expected silu"),
        ("rope_scaling", json!({"type": "linear"}), "rope_type is \"linear\", expected default"),
        ("sliding_window", json!(4096), "the attention has a sliding window, which this program lacks"),
        ("rms_norm_eps", json!(null), "rms_norm_eps is missing"),
        ("num_hidden_layers", json!(3), "the model has no tensor model.layers.2.input_layernorm.weight"),
    ];
    let stored = [
        ("format", json!("cutlass"), "format is \"cutlass\", expected factors"),
        ("quant_method", json!("gptq"), "quant_method is \"gptq\", expected armor"),
        ("base", json!({"quant_method": "fp8"}), "the weights that were not compressed are quantised"),
    ];
    let folder = Folder::new(&tied());
    let path = folder.compressed();
    let config = std::fs::read(path.join("config.json")).unwrap();
    let all = changes.map(|change| (false, change)).into_iter().chain(stored.map(|change| (true, change)));
    for (inside, (key, value, expected)) in all {
        folder.change("config.json", |config| match inside {
            true => config["quantization_config"][key] = value,
            false => config[key] = value,
        });
        let output = program(&[path.to_str().unwrap(), "w1"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.starts_with("error: ") && said.ends_with(&format!("{expected}\n")), "{said}");
        assert_eq!((said.lines().count(), output.stdout.len()), (1, 0), "{said}");
        std::fs::write(path.join("config.json"), &config).unwrap();
    }
}
