//! Disks that are full.

#![cfg(unix)]

use std::process::Command;

use crate::kills::{ARGUMENTS, SETTINGS, slow};
use crate::model::{Model, files, run};

#[test]
fn a_full_disk_is_an_error_and_nothing_is_half_written() {
    let model = Model::new();
    let (settings, _) = slow(&model, &model.out("whole"));
    let whole = settings.out.clone();
    run(settings);
    let expected = files(&whole);
    // A limit on the length of files fails like a full disk, with a limit that is the same everywhere: 8 KiB stop a
    // layer's result, 160 KiB a shard.
    for (kilobytes, stopped) in [(8, "0000"), (160, "armor-model-0000")] {
        let (settings, text) = slow(&model, &model.out(&format!("limit-{kilobytes}")));
        let program = std::env::current_exe().expect("this test runs from a file");
        let script = format!("trap '' XFSZ; ulimit -f {kilobytes}; exec \"$0\" \"$@\"");
        let mut command = Command::new("bash");
        let child = command.arg("-c").arg(script).arg(program).args(ARGUMENTS).env(SETTINGS, text).output();
        let child = child.expect("bash");
        let error = String::from_utf8_lossy(&child.stderr).into_owned();
        assert_eq!(child.status.code(), Some(3), "{error}");
        assert!(error.contains(stopped) && error.contains("File too large"), "{error}");
        let names = std::fs::read_dir(&settings.out).expect("the folder").map(|entry| entry.expect("an entry"));
        let finals: Vec<_> = names.filter(|entry| entry.path().is_file()).map(|entry| entry.file_name()).collect();
        assert!(finals.is_empty(), "{finals:?}");
        let left = files(&settings.out.join(".parts"));
        assert!(left.keys().all(|name| !name.ends_with(".tmp")), "{:?}", left.keys());
        let out = settings.out.clone();
        run(settings);
        assert!(files(&out) == expected);
    }
}

#[test]
fn a_folder_that_cannot_be_made_costs_no_layer() {
    let model = Model::new();
    let blocked = model.folder.path().join("file");
    std::fs::write(&blocked, "").expect("can be written");
    let (mut settings, _) = slow(&model, &blocked.join("out"));
    settings.resume = false;
    let error = match armor_core::checkpoint::Job::open(settings) {
        Ok(job) => job.run_layer(0, |_| panic!("no iteration may be done")).expect_err("cannot be written"),
        Err(error) => error,
    };
    assert!(error.to_string().contains(&blocked.display().to_string()), "{error}");
}
