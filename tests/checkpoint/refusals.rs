//! Bad input is refused when a job is opened: the message names file and tensor, and nothing is written.

use std::path::Path;

use armor_core::checkpoint::{Job, JobSettings};
use armor_core::{Format, Pattern};
use safetensors::Dtype;

use crate::model::{Model, SHARDS, Tensor, run};

pub const Q: &str = "model.layers.0.self_attn.q_proj.weight";
pub const Q_HESSIAN: &str = "model.layers.0.self_attn.q_proj.hessian_diag";

#[track_caller]
pub fn refused(model: &Model, settings: JobSettings, message: &str) {
    let error = Job::open(settings).expect_err("must be refused");
    let error = error.to_string();
    // Of several inputs that are refused, the second line names the first.
    let first = if error.contains(" inputs are refused:\n") { error.lines().nth(1) } else { None };
    let message = message.replace("{model}", &model.folder.path().display().to_string());
    assert_eq!(first.unwrap_or(&error), message);
    assert!(!model.out("out").exists(), "something was written");
}

/// Changes the model, and expects a message.
#[track_caller]
pub fn changed(change: impl FnOnce(&mut Model), message: &str) {
    let mut model = Model::new();
    change(&mut model);
    model.save();
    let settings = model.settings("out");
    refused(&model, settings, message);
}

/// Changes the settings, and expects a message.
#[track_caller]
pub fn told(change: impl FnOnce(&mut JobSettings), message: &str) {
    let model = Model::new();
    let mut settings = model.settings("out");
    change(&mut settings);
    refused(&model, settings, message);
}

/// Changes the bytes of a file, and expects a message.
#[track_caller]
pub fn spoiled(name: &str, change: impl FnOnce(&mut Vec<u8>), message: &str) {
    let model = Model::new();
    let path = model.folder.path().join(name);
    let mut bytes = std::fs::read(&path).expect("a file");
    change(&mut bytes);
    std::fs::write(&path, bytes).expect("can be written");
    let settings = model.settings("out");
    refused(&model, settings, message);
}

#[test]
fn a_selected_tensor_without_a_hessian() {
    told(
        |settings| settings.include = vec!["*q_proj*".to_owned(), "*embed*".to_owned()],
        "model-00001-of-00002.safetensors: model.embed_tokens.weight: is selected, but {model}/hessians.safetensors has no \
         model.embed_tokens.hessian_diag or model.embed_tokens.hessian, and no alias leads to another",
    );
}

#[test]
fn shapes() {
    changed(
        |model| {
            model.hessians.insert(Q_HESSIAN.to_owned(), Tensor::diagonal(63, 1));
        },
        "hessians.safetensors: model.layers.0.self_attn.q_proj.hessian_diag: has shape [63], expected [64] for \
         model.layers.0.self_attn.k_proj.weight of 32 × 64",
    );
    changed(
        |model| {
            model.shards[0].insert(Q.to_owned(), Tensor::diagonal(64, 1));
        },
        "model-00001-of-00002.safetensors: model.layers.0.self_attn.q_proj.weight: has shape [64], expected two or three axes",
    );
    changed(
        |model| {
            model.shards[0].insert(Q.to_owned(), Tensor::weight(Dtype::F32, 8, 6, 1));
        },
        "model-00001-of-00002.safetensors: model.layers.0.self_attn.q_proj.weight: 6 columns are not a multiple of 4, the \
         group of 2:4",
    );
    changed(
        |model| {
            let bytes = vec![0; 16];
            model.shards[0].insert(Q.to_owned(), Tensor { dtype: Dtype::U8, shape: vec![4, 4], bytes });
        },
        "model-00001-of-00002.safetensors: model.layers.0.self_attn.q_proj.weight: is U8, expected F32, F64, F16, BF16 or \
         F8_E4M3",
    );
}

#[test]
fn values() {
    changed(
        |model| {
            let mut values = crate::common::weight(64, 64, 1);
            values[[3, 5]] = f32::NAN;
            model.shards[0].insert(Q.to_owned(), Tensor::new(Dtype::F16, &[64, 64], values));
        },
        "model-00001-of-00002.safetensors: model.layers.0.self_attn.q_proj.weight: weight: entry [3, 5] is NaN, expected a \
         finite f32 number",
    );
    changed(
        |model| {
            let values = (0..64).map(|at| if at == 7 { -1.0 } else { 1.0 });
            model.hessians.insert(Q_HESSIAN.to_owned(), Tensor::new(Dtype::F32, &[64], values));
        },
        "hessians.safetensors: model.layers.0.self_attn.q_proj.hessian_diag: hessian: diagonal entry 7 is -1, expected a \
         non-negative number",
    );
}

#[test]
fn files_that_are_cut_off_or_lie() {
    let size = std::fs::metadata(Model::new().path().join(SHARDS[1])).expect("a file").len();
    let model = Model::new();
    let header = {
        let bytes = std::fs::read(model.path().join(SHARDS[1])).expect("a file");
        8 + u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"))
    };
    let path = format!("model/{}", SHARDS[1]);
    spoiled(
        &path,
        |bytes| bytes.truncate(bytes.len() - 10),
        &format!(
            "{}: header: describes {} bytes of data, but the file has {}",
            SHARDS[1],
            size - header,
            size - header - 10
        ),
    );
    spoiled(
        &path,
        |bytes| bytes.truncate(5),
        &format!("{}: header: cut off: the file ends at byte 5, before byte 8", SHARDS[1]),
    );
    spoiled(
        &path,
        |bytes| bytes.truncate(20),
        &format!("{}: header: cut off: the file ends at byte 20, before byte {header}", SHARDS[1]),
    );
    spoiled(
        "hessians.safetensors",
        |bytes| bytes[..8].fill(0xff),
        &format!(
            "hessians.safetensors: header: cut off: the file ends at byte {}, before byte {}",
            std::fs::metadata(model.folder.path().join("hessians.safetensors")).expect("a file").len(),
            u64::MAX
        ),
    );
}

#[test]
fn names_that_are_twice_there_or_not() {
    changed(
        |model| {
            model.shards[1].insert(Q.to_owned(), model.shards[0][Q].clone());
        },
        &format!("{}: {Q}: is in {} too", SHARDS[1], SHARDS[0]),
    );
    spoiled(
        "model/model.safetensors.index.json",
        |text| *text = String::from_utf8_lossy(text).replace(Q, "model.missing.weight").into_bytes(),
        &format!("{}: model.missing.weight: is missing, but model.safetensors.index.json names it", SHARDS[0]),
    );
    spoiled(
        "model/model.safetensors.index.json",
        |text| *text = String::from_utf8_lossy(text).replace(SHARDS[1], "../escape.safetensors").into_bytes(),
        "{model}/model/model.safetensors.index.json: weight_map: model.layers.2.mlp.down_proj.weight: is not the name of a \
         safetensors file in this folder",
    );
}

#[test]
fn globs_that_match_nothing() {
    told(
        |settings| settings.include = vec!["*q_proj.weight".to_owned(), "*qq*".to_owned()],
        "{model}/model: include: \"*qq*\" matches no tensor",
    );
    told(
        |settings| settings.exclude = vec!["lm_head.*".to_owned()],
        "{model}/model: exclude: \"lm_head.*\" matches no tensor",
    );
    told(
        |settings| settings.exclude = vec!["*".to_owned()],
        "{model}/model: no tensor is selected: none of its weights has a Hessian in {model}/hessians.safetensors, or all \
         are excluded or left alone",
    );
    told(
        |settings| settings.include = vec!["[".to_owned()],
        "settings: include: error parsing glob '[': unclosed character class; missing ']'",
    );
}

#[test]
fn formats_that_cannot_hold_the_core() {
    told(
        |settings| {
            settings.format = Format::SparseBitmask;
            settings.options = settings.options.clone().pattern(Pattern::new(1, 4).expect("valid"));
        },
        "model-00001-of-00002.safetensors: model.layers.0.mlp.down_proj.weight: format sparse-24-bitmask: pattern 1:4 does \
         not fit, expected 2:4",
    );
    changed(
        |model| {
            model.shards[0].insert(Q.to_owned(), Tensor::weight(Dtype::F16, 48, 64, 1));
            model.save();
            let mut settings = model.settings("out");
            settings.format = Format::Cutlass;
            refused(
                model,
                settings,
                "model-00001-of-00002.safetensors: model.layers.0.self_attn.q_proj.weight: format cutlass: 48 × 64 does \
                 not fit, expected multiples of 32 and 32",
            );
            model.shards[0].insert(Q.to_owned(), Tensor::diagonal(1, 1));
        },
        "model-00001-of-00002.safetensors: model.layers.0.self_attn.q_proj.weight: has shape [1], expected two or three axes",
    );
}

#[test]
fn settings() {
    let refuse = |json: &str, message: &str| {
        assert_eq!(JobSettings::from_json(json.as_bytes()).expect_err("must be refused").to_string(), message);
    };
    refuse("[]", "settings: document: is not a JSON object");
    refuse("{}", "settings: document: missing field `checkpoint` at line 1 column 2");
    let paths = r#""checkpoint": "a", "hessians": "b", "out": "c""#;
    refuse(
        &format!(r#"{{{paths}, "dtype": "f8"}}"#),
        "settings: dtype: expected \"f32\", \"f16\" or \"bf16\", or an object with left, core and right at line 1 column 63",
    );
    let refuse_key = |pair: &str, message: &str| {
        let error = JobSettings::from_json(format!("{{{paths}, {pair}}}").as_bytes()).expect_err("must be refused");
        assert!(error.to_string().starts_with(message), "{error}");
    };
    refuse_key(r#""iterations": "x""#, "settings: iterations: invalid type: string \"x\", expected usize");
    refuse_key(r#""alias": {"k_proj": 1}"#, "settings: alias.k_proj: invalid type: integer `1`, expected a string");
    refuse_key(r#""include": ["a", 2]"#, "settings: include[1]: invalid type: integer `2`, expected a string");
    refuse(&format!(r#"{{{paths}, "seed": "x"}}"#), "settings: seed: invalid type: string \"x\", expected u64");
    refuse_key(r#""block": "x""#, "settings: block: expected p or [p, q]");
    refuse_key(r#""seed": 1, "seed": 2"#, "settings: document: has the key \"seed\" twice");
    refuse_key(r#""alias": {"k_proj": "a", "k_proj": "b"}"#, "settings: document: has the key \"k_proj\" twice");
    refuse_key(r#""pattern": "4:2""#, "settings: pattern: 4:2 is not N:M with 0 < N < M ≤ 8");
    let unknown = JobSettings::from_json(format!(r#"{{{paths}, "colour": 1}}"#).as_bytes()).expect_err("refused");
    let message = "settings: colour: unknown key, expected one of ";
    assert!(unknown.to_string().starts_with(message), "{unknown}");
    for key in ["checkpoint", "format", "block", "preset", "left_block", "time_budget", "threads"] {
        assert!(unknown.to_string().contains(&format!(" {key}")), "{key}: {unknown}");
    }
    let none = |settings: &mut JobSettings| settings.options = settings.options.clone().iterations(0);
    told(none, "option iterations: 0 is out of range, expected 1 to 10,000,000");
    told(|settings| settings.out = "".into(), "settings: out: is empty, expected a path");
}

#[test]
fn another_job_in_the_folder() {
    let model = Model::new();
    let settings = model.settings("out");
    let out = settings.out.display().to_string();
    let open = |settings: &JobSettings| Job::open(settings.clone()).expect_err("must be refused").to_string();
    let job = Job::open(settings.clone()).expect("sound");
    job.run_layer(0, |_| std::ops::ControlFlow::Continue(())).expect("runs");
    assert_eq!(open(&settings), format!("{out}: holds an unfinished job already: choose another folder, or resume"));
    let mut other = settings.clone();
    (other.resume, other.options) = (true, other.options.iterations(7));
    assert_eq!(open(&other), format!("{out}: holds another job: options.iterations is 6 there, 7 here"));

    let record = settings.out.join(".parts/job.json");
    let written = std::fs::read_to_string(&record).expect("a record");
    let mut old: serde_json::Value = serde_json::from_str(&written).expect("JSON");
    let keys = old.as_object_mut().expect("an object");
    let this = concat!("armor-core ", env!("CARGO_PKG_VERSION"));
    assert_eq!((keys.remove("format"), keys.remove("writer")), (Some("5".into()), Some(this.into())));
    std::fs::write(&record, old.to_string()).expect("can be written");
    let mut resumed = settings.clone();
    resumed.resume = true;
    let by = format!("is \"1\", written by armor-core before format 2; this version, {this}, reads format 5 only");
    assert_eq!(open(&resumed), format!("{out}: holds a job.json whose format {by}"));
    old["format"] = 5.into();
    old["layers"] = 7.into();
    std::fs::write(&record, old.to_string()).expect("can be written");
    assert!(open(&resumed).starts_with(&format!("{out}: holds another job: ")), "{}", open(&resumed));
    old["format"] = 6.into();
    std::fs::write(&record, old.to_string()).expect("can be written");
    let by = format!("is \"6\", written by an unknown version; this version, {this}, reads format 5 only");
    assert_eq!(open(&resumed), format!("{out}: holds a job.json whose format {by}"));
    std::fs::write(&record, written).expect("can be written");

    // A model that was trained on from the same one has the same headers.
    let q = model.path().join(SHARDS[0]);
    let original = std::fs::read(&q).expect("a file");
    let mut trained = original.clone();
    *trained.last_mut().expect("has bytes") ^= 1;
    std::fs::write(&q, trained).expect("can be written");
    let mut resumed = settings.clone();
    resumed.resume = true;
    assert!(open(&resumed).starts_with(&format!("{out}: holds another job: checkpoint.0.sha256 is ")));
    std::fs::write(&q, original).expect("can be written");

    run(resumed.clone());
    run(resumed.clone());
    assert_eq!(open(&settings), format!("{out}: holds files already: choose another folder, or resume"));
    resumed.format = Format::DenseCore;
    assert_eq!(
        open(&resumed),
        format!("{out}: holds this job, finished in format \"factors\" and dtype of each weight")
    );
    resumed.options = resumed.options.seed(1);
    assert_eq!(open(&resumed), format!("{out}: holds another job, which is finished"));
    resumed.out = Path::new(&model.path()).to_owned();
    assert_eq!(open(&resumed), format!("{}: holds files, but no job", model.path().display()));
}
