//! What changes or breaks between two runs of a job is found, and named.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use armor_core::checkpoint::{CheckpointError, Job, JobSettings};
use armor_core::{Format, Precision};
use safetensors::Dtype;

use crate::model::{COMPRESSED, Model, SHARDS, Tensor, files, resumed, run};

const Q: &str = "model.layers.0.self_attn.q_proj.weight";
const Q_HESSIAN: &str = "model.layers.0.self_attn.q_proj.hessian";
const EMBEDDING: &str = "model.embed_tokens.weight";
const LAST: &str = "model.layers.2.mlp.up_proj.weight";

fn open(settings: &JobSettings) -> Result<Job, CheckpointError> {
    Job::open(resumed(settings))
}

/// Opens a job without reading its inputs, as the workers of a cluster do.
fn join(settings: &JobSettings) -> Job {
    let mut unchecked = settings.clone();
    unchecked.check_values = false;
    open(&unchecked).expect("headers are sound")
}

#[track_caller]
fn message<T>(result: Result<T, CheckpointError>) -> String {
    result.err().expect("must be refused").to_string()
}

fn index_of(job: &Job, layer: &str) -> usize {
    job.layers().iter().position(|selected| selected.name == layer).expect("is selected")
}

fn compress(job: &Job, layer: &str) -> Result<(), CheckpointError> {
    job.run_layer(index_of(job, layer), |_| ControlFlow::Continue(()))
}

/// A model with a whole Hessian for `Q`, whose last entry is as deep in the file as the weight's.
fn model() -> (Model, JobSettings) {
    let mut model = Model::new();
    let identity = (0..64 * 64).map(|at| if at % 65 == 0 { 1.0 } else { 0.0 });
    model.hessians.remove(&format!("{Q_HESSIAN}_diag"));
    model.hessians.insert(Q_HESSIAN.to_owned(), Tensor::new(Dtype::F32, &[64, 64], identity));
    model.save();
    let settings = model.settings("out");
    (model, settings)
}

/// Changes the last value of a tensor, behind all that is looked at when a job is opened.
fn edit(model: &Model, name: &str) {
    let tensors = model.shards.iter().chain([&model.hessians]);
    let paths = SHARDS.map(|shard| model.path().join(shard));
    let paths = [&paths[0], &paths[1], &model.folder.path().join("hessians.safetensors")];
    let (path, tensors) =
        paths.into_iter().zip(tensors).find(|(_, tensors)| tensors.contains_key(name)).expect("there");
    let mut tensors = tensors.clone();
    let tensor = tensors.get_mut(name).expect("there");
    assert!(tensor.bytes.len() > 4096, "{name} is too short");
    let place = tensor.bytes.len() - 2;
    tensor.bytes[place] ^= 1;
    crate::model::write(path, &tensors);
}

#[test]
fn an_input_that_changes_between_two_runs_is_named() {
    for (name, file) in [(Q, SHARDS[0]), (LAST, SHARDS[1]), (EMBEDDING, SHARDS[0]), (Q_HESSIAN, "hessians.safetensors")]
    {
        let (model, settings) = model();
        compress(&open(&settings).expect("sound"), Q).expect("runs");
        let out = settings.out.display();
        let expected = format!("{out}: holds another job: {file}: {name} has changed since it was begun");
        edit(&model, name);
        assert_eq!(message(open(&settings)), expected);
        if name == LAST {
            assert_eq!(message(compress(&join(&settings), LAST)), expected);
        }
        model.save();
        join(&settings).run(2, &|_| {}).expect("runs");
        edit(&model, name);
        assert_eq!(message(join(&settings).finish(&|_, _| {})), expected);
        assert!(!settings.out.join("report.json").exists());
    }
}

#[test]
fn a_result_knows_its_inputs_though_nobody_has_read_all_of_them() {
    for name in [Q, Q_HESSIAN] {
        let (model, settings) = model();
        join(&settings).run(2, &|_| {}).expect("runs");
        assert!(!settings.out.join(".parts/inputs.json").exists());
        edit(&model, name);
        assert!(message(open(&settings)).contains(&format!(": {name} has changed")));
        assert!(message(join(&settings).finish(&|_, _| {})).contains(&format!(": {name} has changed")));
    }
}

fn damaged(part: &Path, other: &Path, how: usize) {
    let mut bytes = fs::read(part).expect("a part");
    let last = bytes.len() - 1;
    match how {
        0 => bytes.clear(),
        1 => bytes.truncate(last),
        2 => bytes[last] ^= 1,
        3 => {
            let text = String::from_utf8_lossy(&bytes[..last]).into_owned();
            let place = text.find("\"armor.loss\":\"0.").expect("a loss") + "\"armor.loss\":\"0.".len();
            bytes[place] = if bytes[place] == b'1' { b'2' } else { b'1' };
        }
        _ => bytes = fs::read(other).expect("a part"),
    }
    fs::write(part, bytes).expect("can be written");
}

#[test]
fn a_damaged_result_is_named_and_done_again_once_it_is_removed() {
    let model = Model::new();
    run(model.settings("whole"));
    let expected = files(&model.out("whole"));
    for how in 0..5 {
        let settings = model.settings(&format!("out-{how}"));
        open(&settings).expect("sound").run(2, &|_| {}).expect("runs");
        let part = |index: usize| settings.out.join(format!(".parts/{index:05}.safetensors"));
        damaged(&part(1), &part(2), how);
        let told = format!("{}: is damaged: ", part(1).display());
        for refused in [message(open(&settings)), message(join(&settings).finish(&|_, _| {}))] {
            assert!(refused.starts_with(&told), "{refused}");
            assert!(refused.ends_with("; remove the file to have its layer done again"), "{refused}");
        }
        fs::remove_file(part(1)).expect("was there");
        let out = settings.out.clone();
        run(resumed(&settings));
        assert!(files(&out) == expected);
    }
}

#[test]
fn a_damaged_output_is_not_taken_for_a_finished_job() {
    let model = Model::new();
    let settings = model.settings("out");
    run(settings.clone());
    let path = settings.out.join(COMPRESSED[1]);
    let sound = fs::read(&path).expect("a shard");
    let mut flipped = sound.clone();
    *flipped.last_mut().expect("has bytes") ^= 1;
    let long = sound.len();
    for (bytes, problem) in [
        (None, "No such file".to_owned()),
        (
            Some(&sound[..long - 1]),
            format!("has {} bytes, not the {long} that were written; report.json tells", long - 1),
        ),
        (Some(&flipped[..]), "has changed since it was written; report.json tells of a finished job".to_owned()),
    ] {
        match bytes {
            None => fs::remove_file(&path).expect("was there"),
            Some(bytes) => fs::write(&path, bytes).expect("can be written"),
        }
        let refused = message(open(&settings));
        assert!(refused.starts_with(&format!("{}: {problem}", path.display())), "{refused}");
    }
    fs::write(&path, sound).expect("can be written");
    open(&settings).expect("as it was");
}

#[test]
fn a_value_that_overflows_in_the_product_names_file_and_tensor() {
    let mut model = Model::new();
    let large = crate::common::weight(64, 64, 1).mapv(|x| 1e12 * x);
    model.shards[0].insert(Q.to_owned(), Tensor::new(Dtype::F32, &[64, 64], large));
    model.save();
    let mut settings = model.settings("out");
    (settings.format, settings.dtype) = (Format::Reconstructed, Some(Precision::F16.into()));
    settings.check_values = false;
    let job = Job::open(settings.clone()).expect("values are not checked");
    let told = format!("{}: {Q}: weight: entry [0, 0] is ", SHARDS[0]);
    let refused = message(compress(&job, Q));
    assert!(refused.starts_with(&told) && refused.ends_with("beyond the range of f16"), "{refused}");
    job.run(1, &|_| {}).expect("the other layers");
    let refused = message(job.finish(&|_, _| {}));
    assert!(refused.starts_with(&told), "{refused}");
    settings.dtype = Some(Precision::Bf16.into());
    open(&settings).expect("the same job").finish(&|_, _| {}).expect("bf16 reaches as far as f32");
}
