//! The built library exports exactly the functions of the source, and each of them runs inside the guard.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lists the files of a folder and of the folders in it.
fn files_of(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files_of(&path) } else { vec![path] }).collect()
}

/// Lists the exports in the source, and checks that the guard runs the whole body of each.
pub fn in_source() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ffi");
    let mut exports = Vec::new();
    for path in files_of(&folder) {
        let source = std::fs::read_to_string(path).expect("a source file");
        for function in source.split("#[unsafe(no_mangle)]").skip(1) {
            let (head, body) = function.split_once("extern \"C\" fn ").expect("an export is extern \"C\"");
            assert!(["pub ", "pub unsafe "].contains(&head.trim_start_matches('\n')), "{head}");
            let (name, _) = body.split_once('(').expect("a function has arguments");
            let (_, body) = body.split_once(" {\n").expect("a function has a body");
            let (body, _) = body.split_once("\n}\n").expect("a body ends");
            let mut statements = body.lines().map(str::trim).filter(|line| !line.starts_with("//"));
            assert!(statements.next().is_some_and(|line| line.starts_with("guard(")), "{name} has no guard");
            let end = body.lines().next_back().expect("a body has lines");
            assert!(
                end.ends_with(')') && (end == "    })" || end.starts_with("    guard(")),
                "{name}: code after the guard"
            );
            exports.push(name.to_owned());
        }
    }
    exports.sort_unstable();
    exports
}

/// Lists the symbols of the shared library, which cargo builds into the folder of this test.
fn in_library() -> Vec<String> {
    let executable = std::env::current_exe().expect("this test runs from a file");
    let library = executable.with_file_name("libarmor_core.so");
    let symbols = Command::new("nm").args(["-D", "--defined-only"]).arg(library).output().expect("nm, of binutils");
    assert!(symbols.status.success(), "{}", String::from_utf8_lossy(&symbols.stderr));
    let symbols = String::from_utf8(symbols.stdout).expect("symbols are text");
    let mut exports: Vec<String> =
        symbols.lines().filter_map(|line| line.split_once(" T ")).map(|(_, name)| name.to_owned()).collect();
    exports.sort_unstable();
    exports
}

#[test]
#[cfg(target_os = "linux")]
#[cfg_attr(miri, ignore = "starts a process")]
fn the_library_exports_the_functions_of_the_source() {
    let mut expected = in_source();
    // Only a library with the feature `checkpoint` has jobs.
    expected.retain(|export| cfg!(feature = "checkpoint") || !export.starts_with("armor_job_"));
    assert_eq!(in_library(), expected);
}

/// A library without jobs must not pull in what only jobs need.
#[test]
#[cfg_attr(miri, ignore = "starts a process")]
fn the_abi_without_jobs_needs_few_dependencies() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let tree = |features: &str| {
        let arguments = ["tree", "--offline", "--no-default-features", "--features", features, "-e", "normal"];
        let mut command = Command::new(&cargo);
        command.args(arguments).args(["--prefix", "none", "--format", "{p}"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        let output = command.output().expect("cargo");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).expect("names are text");
        lines.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let (without, with) = (tree("capi"), tree("capi,checkpoint"));
    for package in ["globset", "plotters", "sha2"] {
        assert!(with.contains(package), "jobs use {package}");
        assert!(!without.contains(package), "the feature capi alone uses {package}");
    }
}

/// The workspace of the fuzzer is not part of the published package, so the test passes without it.
#[test]
#[cfg_attr(miri, ignore = "reads the source")]
fn every_export_is_fuzzed() {
    let Ok(sources) = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/src")) else {
        return;
    };
    let mut words = BTreeSet::new();
    for source in sources {
        let source = std::fs::read_to_string(source.expect("an entry").path()).expect("a source file");
        words.extend(source.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned));
    }
    let absent: Vec<_> = in_source().into_iter().filter(|export| !words.contains(export)).collect();
    assert!(absent.is_empty(), "tests/fuzz does not call {absent:?}");
}
