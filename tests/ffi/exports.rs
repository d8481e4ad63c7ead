//! What the built library exports is what stands behind the guard.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// Exports in the source, each of which must hand its whole body to the guard.
pub fn in_source() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ffi");
    let mut exports = Vec::new();
    for entry in std::fs::read_dir(folder).expect("src/ffi") {
        let source = std::fs::read_to_string(entry.expect("an entry").path()).expect("a source file");
        for function in source.split("#[unsafe(no_mangle)]").skip(1) {
            let (head, body) = function.split_once("extern \"C\" fn ").expect("an export is extern \"C\"");
            assert!(["pub ", "pub unsafe "].contains(&head.trim_start_matches('\n')), "{head}");
            let (name, _) = body.split_once('(').expect("a function has arguments");
            let (_, body) = body.split_once(" {\n").expect("a function has a body");
            let (body, _) = body.split_once("\n}\n").expect("a body ends");
            let statements = body.lines().map(str::trim).filter(|line| !line.starts_with("//"));
            let mut statements = statements.skip_while(|line| line.starts_with("let out = (buffer, "));
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

/// Lists the symbols of the shared library, which cargo has built beside this test.
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
fn every_export_stands_behind_the_guard() {
    assert_eq!(in_library(), in_source());
}

/// The fuzzer's own workspace is not part of what is published.
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
