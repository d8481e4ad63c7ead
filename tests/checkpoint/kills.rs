//! Jobs that are killed at any moment, and gone on with.

#![cfg(unix)]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Instant;

use armor_core::checkpoint::{CheckpointError, Job, JobSettings};
use serde_json::json;

use crate::by_caller::run_in_turn;
use crate::common::Random;
use crate::model::{Model, files, run};

/// Where a child finds the settings of its job.
pub const SETTINGS: &str = "ARMOR_TEST_SETTINGS";

/// Not a test of its own: the job of another process, in a process that may be killed.
#[test]
fn child() {
    let Ok(settings) = std::env::var(SETTINGS) else { return };
    if let Err(error) = complete(JobSettings::from_json(settings.as_bytes()).expect("JSON")) {
        eprintln!("error: {error}");
        std::process::exit(3);
    }
}

/// Runs a job to its end: two layers at a time, or one after another where the caller calibrates.
fn complete(settings: JobSettings) -> Result<(), CheckpointError> {
    let job = Job::open(settings)?;
    match job.settings().hessians {
        Some(_) => job.run(2, &|_| {})?,
        None => run_in_turn(&job)?,
    }
    job.finish(&|_, _| {})
}

/// The arguments that make this program a child.
pub const ARGUMENTS: [&str; 3] = ["kills::child", "--exact", "--nocapture"];

/// The settings of [`Model::settings`], with enough iterations to be caught at.
pub fn slow(model: &Model, out: &Path) -> (JobSettings, String) {
    let json = json!({
        "checkpoint": model.path(), "hessians": model.folder.path().join("hessians.safetensors"), "out": out,
        "alias": {"k_proj": "q_proj", "v_proj": "q_proj", "up_proj": "gate_proj", "w3": "w1"},
        "include": ["model.layers.*.weight"], "block": 16, "iterations": 40, "threads": 2, "resume": true
    });
    (JobSettings::from_json(json.to_string().as_bytes()).expect("sound"), json.to_string())
}

/// The same for a caller that calibrates.
fn slow_by_caller(model: &Model, out: &Path) -> (JobSettings, String) {
    let (mut settings, _) = slow(model, out);
    settings.hessians = None;
    settings.alias.clear();
    let json = settings.to_json();
    (settings, json)
}

fn start(settings: &str) -> std::process::Child {
    let mut command = Command::new(std::env::current_exe().expect("this test runs from a file"));
    command.args(ARGUMENTS).env(SETTINGS, settings).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("starts")
}

/// Files under final names, which must be whole.
fn finals(out: &Path) -> BTreeMap<String, Vec<u8>> {
    if !out.exists() {
        return BTreeMap::new();
    }
    let entries = std::fs::read_dir(out).expect("a folder").map(|entry| entry.expect("an entry"));
    let kept = entries.filter(|entry| entry.file_type().expect("a type").is_file());
    kept.map(|entry| (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).expect("a file")))
        .collect()
}

#[test]
fn a_job_that_is_killed_at_any_moment_ends_with_the_same_bytes() {
    kill_and_compare(slow);
}

#[test]
fn so_does_a_job_that_its_caller_calibrates() {
    kill_and_compare(slow_by_caller);
}

/// Kills jobs with these settings, and goes on with them; `ARMOR_KILLS` says how many moments are tried.
fn kill_and_compare(settings_of: fn(&Model, &Path) -> (JobSettings, String)) {
    let model = Model::new();
    let (settings, text) = settings_of(&model, &model.out("whole"));
    let begin = Instant::now();
    assert!(start(&text).wait().expect("runs").success());
    let whole = begin.elapsed();
    let expected = files(&settings.out);
    let kills = std::env::var("ARMOR_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(10);
    let mut random = Random::new(1);
    let mut caught = 0;
    for kill in 0..kills {
        let (settings, text) = settings_of(&model, &model.out(&format!("killed-{kill}")));
        let mut child = start(&text);
        sleep(whole.mul_f64(random.uniform()));
        child.kill().expect("can be killed");
        caught += usize::from(!child.wait().expect("ends").success());
        for (name, bytes) in finals(&settings.out) {
            assert!(expected[&name] == bytes, "{name} is half-written after kill {kill}");
        }
        let out = settings.out.clone();
        complete(settings).expect("goes on");
        assert!(files(&out) == expected, "other bytes after kill {kill}");
    }
    println!("{caught} of {kills} kills caught the job at work, which takes {whole:?}");
    assert!(caught > 0, "no kill caught a job at work");
}

#[test]
fn two_processes_share_a_job() {
    let model = Model::new();
    let (settings, _) = slow(&model, &model.out("alone"));
    let alone = settings.out.clone();
    run(settings);
    for round in 0..8 {
        let (settings, text) = slow(&model, &model.out(&format!("shared-{round}")));
        let children = [start(&text), start(&text)];
        // Whoever comes second finds the job begun, finished, or parts that vanish under its hands: no error.
        let succeeded = children.map(|mut child| child.wait().expect("runs").success());
        assert_eq!(succeeded, [true, true]);
        assert!(files(&settings.out) == files(&alone));
    }
}
