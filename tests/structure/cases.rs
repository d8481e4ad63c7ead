//! Small crates in memory that break one rule each: every check must find its fault, and nothing else.

use std::collections::BTreeMap;

use crate::declarations::{folders_with_code, undeclared};
use crate::graph::{circles, upward};
use crate::imports_of;
use crate::sizes::{long_files, long_functions, table};
use crate::sources::Sources;
use crate::types::types_twice;

fn sources(files: &[(&str, &str)]) -> Sources {
    let texts: BTreeMap<String, String> =
        files.iter().map(|(path, text)| (format!("src/{path}"), (*text).to_owned())).collect();
    Sources::parse(&texts)
}

fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
    let sources = sources(files);
    assert_eq!(undeclared(&sources), [""; 0], "the case declares all its files");
    circles(&sources, &imports_of(&sources))
}

fn upward_of(files: &[(&str, &str)]) -> Vec<String> {
    let sources = sources(files);
    upward(&sources, &imports_of(&sources))
}

const NONE: [&str; 0] = [];

#[test]
fn a_circle_of_two_files_is_printed() {
    let found = circles_of(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "use crate::b::B;\npub struct A(B);"),
        ("b.rs", "pub struct B;\nimpl B { fn a() -> Option<crate::a::A> { None } }"),
    ]);
    assert_eq!(found, ["src/a.rs:1 (crate::b::B) -> src/b.rs:2 (crate::a::A) -> src/a.rs"]);
}

#[test]
fn a_circle_of_three_files_is_printed_once() {
    let found = circles_of(&[
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", "use crate::b::b; pub fn a() { b() }"),
        ("b.rs", "use crate::c; pub fn b() { c::c() }"),
        ("c.rs", "pub fn c() { crate::a::a() }"),
    ]);
    assert_eq!(found, ["src/a.rs:1 (crate::b::b) -> src/b.rs:1 (c::c) -> src/c.rs:1 (crate::a::a) -> src/a.rs"]);
}

#[test]
fn a_circle_through_a_re_export_is_found() {
    let found = circles_of(&[
        ("lib.rs", "mod folder; pub use folder::A as Renamed;"),
        ("folder/mod.rs", "mod a; mod b; pub(crate) use a::A; pub(crate) use b::*;"),
        ("folder/a.rs", "use super::B; pub struct A(B);"),
        ("folder/b.rs", "pub struct B; impl B { fn a() -> Option<crate::Renamed> { None } }"),
    ]);
    assert_eq!(found, ["src/folder/a.rs:1 (super::B) -> src/folder/b.rs:1 (crate::Renamed) -> src/folder/a.rs"]);
}

#[test]
fn a_circle_of_a_file_and_its_own_child_is_found() {
    let found = circles_of(&[
        ("lib.rs", "mod a;"),
        ("a.rs", "mod child; pub struct A; pub fn a() { child::run(A) }"),
        ("a/child.rs", "use super::*; pub fn run(_: A) {}"),
    ]);
    assert_eq!(found, ["src/a.rs:1 (child::run) -> src/a/child.rs:1 (super::*) -> src/a.rs"]);
}

#[test]
fn a_circle_through_the_body_of_a_macro_is_found() {
    let found = circles_of(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "macro_rules! m { ($x:expr) => { $x.b::<u8>(std::b::B, ::b::B, [$crate::b::B; 1]) } }\npub struct A;"),
        ("b.rs", "use crate::a; pub struct B; pub fn b() { m!(x => a::A) }"),
    ]);
    assert_eq!(found, ["src/a.rs:1 (crate::b::B) -> src/b.rs:1 (a::A) -> src/a.rs"]);
}

#[test]
fn a_circle_through_inline_modules_and_macro_arguments_is_found() {
    let found = circles_of(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "pub mod inner { pub fn f() -> u8 { assert_eq!(super::super::b::g(), 1); 1 } }"),
        ("b.rs", "use crate::a::{self}; pub fn g() -> u8 { a::inner::f() }"),
    ]);
    assert_eq!(found, ["src/a.rs:1 (super::super::b::g) -> src/b.rs:1 (a::inner::f) -> src/a.rs"]);
}

#[test]
fn code_of_a_folder_counts_as_an_import() {
    let found = circles_of(&[
        ("lib.rs", "mod folder;"),
        ("folder/mod.rs", "mod a; use a::A; pub fn make() -> A { A }"),
        ("folder/a.rs", "use super::make; pub struct A; pub fn a() -> A { make() }"),
    ]);
    assert_eq!(found, ["src/folder/a.rs:1 (super::make) -> src/folder/mod.rs:1 (a::A) -> src/folder/a.rs"]);
}

#[test]
fn tests_re_exports_declarations_and_other_crates_are_no_imports() {
    let found = circles_of(&[
        ("lib.rs", "mod a; mod b; pub use a::A;"),
        ("a.rs", "mod child; pub struct A; #[cfg(test)] mod tests { use crate::b::B; use super::*; }"),
        ("a/child.rs", "use super::A; use std::fmt; impl fmt::Debug for A {}"),
        ("b.rs", "use crate::A; pub struct B(A); #[cfg(all(test, unix))] fn b() -> crate::b::B { B(A) }"),
    ]);
    assert_eq!(found, NONE);
}

#[test]
fn an_import_of_a_later_level_is_found() {
    let files = [
        ("lib.rs", "mod low; mod high; pub use high::h::High;"),
        ("low.rs", "pub struct Low;\npub fn low() -> crate::High { crate::High }"),
        ("high/mod.rs", "pub mod h; pub mod other;"),
        ("high/h.rs", "use crate::low::Low; pub struct High; pub struct Own(Low);"),
        ("high/other.rs", "use crate::high::h::High; pub struct Other(High);"),
    ];
    assert_eq!(
        upward_of(&files),
        ["src/low.rs:2: imports crate::High of the later level `high` into `low`"],
        "levels of {files:?}"
    );
}

#[test]
fn a_type_name_that_stands_twice_is_found() {
    let found = types_twice(&sources(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "pub struct Twice;\ntype Once = u8;\n#[cfg(test)] mod tests { struct Once; }"),
        ("b.rs", "fn f() {\n    enum Twice {}\n}\nimpl Iterator for B { type Item = u8; }\nstruct B;"),
    ]));
    assert_eq!(found, ["Twice: defined at src/a.rs:1, src/b.rs:2"]);
}

#[test]
fn a_long_function_is_found() {
    let function = |name: &str, lines: usize| format!("fn {name}() {{\n{}}}\n", "    work();\n".repeat(lines - 2));
    let text = format!(
        "{}{}impl A {{\n{}}}\n#[cfg(test)]\nmod tests {{\n{}}}\n",
        function("just", 60),
        function("long", 61),
        function("method", 70),
        function("test", 80)
    );
    let sources = sources(&[("lib.rs", &text)]);
    assert_eq!(
        long_functions(&sources),
        [
            "src/lib.rs:61: fn long has 61 lines, expected at most 60",
            "src/lib.rs:123: fn method has 70 lines, expected at most 60"
        ]
    );
    let table = table(&sources);
    assert!(table.contains("functions       3    61    70    70\n"), "{table}");
}

#[test]
fn a_long_file_and_a_large_median_are_found() {
    let lines = |count: usize| "// line\n".repeat(count);
    let found = long_files(&sources(&[("a.rs", &lines(400)), ("b.rs", &lines(401)), ("lib.rs", &lines(150))]));
    let median = "src: the median of the files is 400 lines, expected at most 150";
    assert_eq!(found, ["src/b.rs: has 401 lines, expected at most 400", median]);
    let found = long_files(&sources(&[("a.rs", &lines(400)), ("b.rs", &lines(150)), ("lib.rs", &lines(150))]));
    assert_eq!(found, NONE);
}

#[test]
fn code_in_a_folder_is_found() {
    let found = folders_with_code(&sources(&[
        ("lib.rs", "//! Docs.\n#![allow(unsafe_code)]\n#[cfg(unix)] compile_error!(\"no\"); mod a; pub use a::A;"),
        ("a/mod.rs", "mod inner; use inner::A; pub fn f() {}"),
        ("b/mod.rs", "mod inner { const B: u8 = 1; }"),
        ("c/mod.rs", "mod inner; pub use inner::*; pub mod names { pub use super::inner::C; }"),
    ]));
    let problem = "holds code, expected only `mod` and `use` items";
    assert_eq!(found, [format!("src/a/mod.rs: {problem}"), format!("src/b/mod.rs: {problem}")]);
}

#[test]
fn a_file_without_a_declaration_is_found() {
    let found = undeclared(&sources(&[("lib.rs", "mod a;"), ("a.rs", "mod c {}"), ("b.rs", ""), ("a/c.rs", "")]));
    let problem = "no `mod` declaration reaches it";
    assert_eq!(found, [format!("src/a/c.rs: {problem}"), format!("src/b.rs: {problem}")]);
}

#[test]
fn files_of_tests_do_not_count() {
    let long = format!("use super::A; struct B; fn test() {{\n{}}}", "    work();\n".repeat(80));
    let files =
        [("lib.rs", "mod a;"), ("a.rs", "#[cfg(test)] mod b; struct A; struct B(crate::a::b::B);"), ("a/b.rs", &long)];
    assert_eq!(circles_of(&files), NONE);
    let sources = sources(&files);
    assert_eq!((types_twice(&sources), long_functions(&sources)), (Vec::new(), Vec::new()));
}
