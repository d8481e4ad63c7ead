//! Names that meet, are told twice, lead nowhere or hide something are refused when a job is opened.

use armor_core::Format;
use armor_core::checkpoint::Job;
use safetensors::Dtype;

use crate::model::{Model, SHARDS, Tensor};
use crate::refusals::{Q, Q_HESSIAN, changed, refused, told};

const STEM: &str = "model.layers.0.self_attn.q_proj";

#[test]
fn tensors_of_the_output_that_would_meet() {
    for (format, part) in [
        (Format::Factors, "armor.left"),
        (Format::DenseCore, "armor.core.dense"),
        (Format::SparseBitmask, "compressed"),
        (Format::Cutlass, "armor.core.meta"),
    ] {
        let mut model = Model::new();
        // In the other shard: the index would lose one of them.
        model.shards[1].insert(format!("{STEM}.{part}"), Tensor::diagonal(4, 1));
        model.save();
        let mut settings = model.settings("out");
        settings.format = format;
        let problem = format!("would become {STEM}.{part}, which the checkpoint has already");
        refused(&model, settings.clone(), &format!("{}: {Q}: {problem}", SHARDS[0]));
        settings.format = Format::Reconstructed;
        Job::open(settings).expect("the weight keeps its name");
    }
    let mut model = Model::new();
    model.shards[1].insert(STEM.to_owned(), Tensor::weight(Dtype::F16, 64, 64, 9));
    model.save();
    let mut settings = model.settings("out");
    settings.include.push(STEM.to_owned());
    let problem = format!("would become {STEM}.armor.core.bitmask, and so would {STEM}");
    refused(&model, settings, &format!("{}: {Q}: {problem}", SHARDS[0]));
}

/// Gives the header of a file a first entry that it has already.
fn doubled(bytes: &mut Vec<u8>) {
    let end = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let entry = |name: &str| format!("\"{name}\":{{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}},");
    let header = String::from_utf8_lossy(&bytes[8..end]).into_owned();
    let name = if header.contains(Q) { Q } else { Q_HESSIAN };
    let header = format!("{{{}{}", entry(name), &header[1..]);
    *bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &bytes[end..]].concat();
}

#[test]
fn keys_that_are_told_twice() {
    let model = Model::new();
    let path = format!("model/{}", SHARDS[0]);
    for (file, name) in [(path.as_str(), Q), ("hessians.safetensors", Q_HESSIAN)] {
        let mut bytes = std::fs::read(model.folder.path().join(file)).expect("a file");
        let sound = bytes.clone();
        doubled(&mut bytes);
        std::fs::write(model.folder.path().join(file), &bytes).expect("can be written");
        let error = Job::open(model.settings("out")).expect_err("must be refused").to_string();
        let file_name = file.rsplit('/').next().expect("a name");
        assert!(error.starts_with(&format!("{file_name}: header: has the key \"{name}\" twice at line 1")), "{error}");
        std::fs::write(model.folder.path().join(file), sound).expect("can be written");
    }
    let index = model.path().join("model.safetensors.index.json");
    let text = std::fs::read_to_string(&index).expect("an index");
    let twice = text.replace("\"weight_map\":{", &format!("\"weight_map\":{{\"{Q}\":\"{}\",", SHARDS[1]));
    assert_ne!(text, twice);
    std::fs::write(&index, twice).expect("can be written");
    let error = Job::open(model.settings("out")).expect_err("must be refused").to_string();
    assert!(error.starts_with(&format!("{}: has the key \"{Q}\" twice", index.display())), "{error}");
}

#[test]
fn aliases_that_lead_nowhere() {
    told(
        |settings| {
            settings.alias.insert("k_porj".to_owned(), "q_proj".to_owned());
        },
        "{model}/model: alias: k_porj=q_proj: no tensor has the component \"k_porj\"",
    );
    told(
        |settings| {
            settings.alias.insert("k_proj".to_owned(), "q_porj".to_owned());
        },
        "{model}/hessians.safetensors: alias: k_proj=q_porj: no tensor has the component \"q_porj\"",
    );
}

#[test]
fn characters_that_a_terminal_would_obey_are_escaped() {
    let name = "model.layers.\u{1b}[31m\u{7}red.weight";
    changed(
        |model| {
            model.shards[0].insert(name.to_owned(), Tensor::diagonal(64, 1));
            model.hessians.insert("model.layers.\u{1b}[31m\u{7}red.hessian_diag".to_owned(), Tensor::diagonal(64, 1));
        },
        &format!(
            "{}: model.layers.\\u{{1b}}[31m\\u{{7}}red.weight: has shape [64], expected two or three axes",
            SHARDS[0]
        ),
    );
    told(
        |settings| settings.include = vec!["\u{1b}*".to_owned()],
        "{model}/model: include: \"\\u{1b}*\" matches no tensor",
    );
}

#[cfg(unix)]
#[test]
fn a_pipe_is_no_file() {
    for (place, shown) in [
        (format!("model/{}", SHARDS[1]), format!("{{model}}/model/{}", SHARDS[1])),
        ("hessians.safetensors".to_owned(), "{model}/hessians.safetensors".to_owned()),
        ("model/model.safetensors.index.json".to_owned(), "{model}/model/model.safetensors.index.json".to_owned()),
    ] {
        let model = Model::new();
        let path = model.folder.path().join(place);
        std::fs::remove_file(&path).expect("was there");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
        refused(&model, model.settings("out"), &format!("{shown}: is not a regular file"));
    }
}
