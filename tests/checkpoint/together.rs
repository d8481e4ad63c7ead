//! Several processes on one output folder, in whatever order they come and go.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use armor_core::Precision;
use armor_core::checkpoint::{CheckpointError, Job, JobSettings};

use crate::model::{COMPRESSED, Model, files, resumed, run};

fn open(settings: &JobSettings, dtype: Precision) -> Job {
    Job::open(resumed(&with_dtype(settings, dtype))).expect("sound")
}

fn with_dtype(settings: &JobSettings, dtype: Precision) -> JobSettings {
    let mut settings = settings.clone();
    settings.dtype = Some(dtype.into());
    settings
}

fn first_layer(job: &Job) -> Result<(), CheckpointError> {
    job.run_layer(0, |_| ControlFlow::Continue(()))
}

/// A job whose layers are all done, and what its output is in a dtype.
fn compressed(dtype: Precision) -> (Model, JobSettings, BTreeMap<String, Vec<u8>>) {
    let model = Model::new();
    let settings = model.settings("out");
    open(&settings, dtype).run(2, &|_| {}).expect("runs");
    run(with_dtype(&model.settings("fresh"), dtype));
    let expected = files(&model.out("fresh"));
    (model, settings, expected)
}

#[test]
fn two_that_finish_in_different_dtypes_do_not_mix() {
    let (_model, settings, expected) = compressed(Precision::Bf16);
    let (first, second) = (open(&settings, Precision::Bf16), open(&settings, Precision::F32));
    let (sender, receiver) = channel();
    let refused = std::thread::scope(|scope| {
        let other = RefCell::new(None);
        let start = || {
            let (second, sender) = (&second, sender.clone());
            scope.spawn(move || {
                let result = second.finish(&|_, _| {});
                sender.send(()).expect("is listened to");
                result
            })
        };
        let in_the_midst = |_, _| {
            if other.borrow().is_none() {
                *other.borrow_mut() = Some(start());
                let waited = receiver.recv_timeout(Duration::from_millis(300));
                assert_eq!(waited, Err(RecvTimeoutError::Timeout), "the second one did not wait");
            }
        };
        first.finish(&in_the_midst).expect("finishes");
        let other = other.into_inner().expect("was started");
        other.join().expect("ends").expect_err("is finished in another dtype")
    });
    let told = "holds this job, finished in format \"factors\" and dtype \"bf16\"";
    assert_eq!(refused.to_string(), format!("{}: {told}", settings.out.display()));
    assert!(files(&settings.out) == expected);
}

#[test]
fn a_finish_that_was_cut_short_is_done_anew_in_another_dtype() {
    let (_model, settings, expected) = compressed(Precision::F32);
    let obstacle = settings.out.join(COMPRESSED[1]);
    fs::create_dir_all(&obstacle).expect("a folder");
    let refused = open(&settings, Precision::Bf16).finish(&|_, _| {}).expect_err("a folder is in the way");
    assert!(refused.to_string().contains(COMPRESSED[1]), "{refused}");
    assert!(settings.out.join(COMPRESSED[0]).exists() && !settings.out.join("report.json").exists());
    fs::remove_dir(&obstacle).expect("is empty");
    // As a kill leaves it between the report and the end.
    fs::write(settings.out.join("report.json"), "{}").expect("can be written");
    let shorter = open(&settings, Precision::F32);
    shorter
        .finish(&|_, _| assert!(!settings.out.join("report.json").exists(), "tells of a whole output"))
        .expect("finishes");
    assert!(files(&settings.out) == expected);
}

#[test]
fn whoever_comes_after_the_end_makes_nothing_anew() {
    let model = Model::new();
    let settings = model.settings("out");
    let early = Job::open(settings.clone()).expect("nothing is there");
    let late = Job::open(settings.clone()).expect("nothing is there");
    let other = Job::open(with_dtype(&settings, Precision::F32)).expect("nothing is there");
    early.run(2, &|_| {}).expect("runs");
    early.finish(&|_, _| {}).expect("finishes");
    let expected = files(&settings.out);
    for job in [&early, &late, &other] {
        job.run_layer(0, |_| panic!("is done")).expect("is done");
    }
    late.finish(&|_, _| {}).expect("is done");
    let refused = other.finish(&|_, _| {}).expect_err("is finished in another dtype").to_string();
    assert!(refused.ends_with("holds this job, finished in format \"factors\" and dtype of each weight"), "{refused}");
    assert!(files(&settings.out) == expected);
}

#[test]
fn a_folder_that_was_removed_is_not_made_anew() {
    let model = Model::new();
    let settings = model.settings("out");
    let lost = format!("{}: no longer holds this job", settings.out.display());
    let begin = || {
        let job = Job::open(settings.clone()).expect("sound");
        first_layer(&job).expect("runs");
        job
    };
    let resume = || {
        begin();
        open(&settings, Precision::F16)
    };
    let finish = || run(settings.clone());
    for job in [&begin as &dyn Fn() -> Job, &resume, &finish] {
        let job = job();
        fs::remove_dir_all(&settings.out).expect("was there");
        let refused =
            job.run_layer(1, |_| panic!("no iteration may be done")).expect_err("the folder is gone").to_string();
        assert!(refused.starts_with(&lost), "{refused}");
        assert!(!settings.out.exists());
    }
}

#[test]
fn a_folder_that_is_removed_during_a_layer_is_not_made_anew() {
    let model = Model::new();
    let settings = model.settings("out");
    let job = Job::open(settings.clone()).expect("sound");
    let result = job.run_layer(0, |_| {
        let _ = fs::remove_dir_all(&settings.out);
        ControlFlow::Continue(())
    });
    let refused = result.expect_err("the folder is gone").to_string();
    assert!(refused.contains("no longer holds this job"), "{refused}");
    assert!(!settings.out.exists());
}

#[test]
fn no_layers_in_flight_is_refused() {
    let model = Model::new();
    let job = Job::open(model.settings("out")).expect("sound");
    let refused = job.run(0, &|_| {}).expect_err("would never end").to_string();
    assert_eq!(refused, "option layers_in_flight: 0 is out of range, expected 1 or more");
}
