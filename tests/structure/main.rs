//! The structure of the source: imports without circles and from earlier levels only, sizes, names.
//!
//! The checks read the text of `src/`, so they see the code of every feature and every processor.

mod cases;
mod declarations;
mod documents;
mod graph;
mod imports;
mod names;
mod sizes;
mod sources;
mod tokens;
mod types;
mod uses;

use std::path::Path;

use imports::Import;
use names::Names;
use sources::Sources;

/// The source of this crate.
fn own() -> Sources {
    Sources::read(Path::new(env!("CARGO_MANIFEST_DIR")))
}

fn imports_of(sources: &Sources) -> Vec<Import> {
    imports::imports(sources, &Names::new(sources))
}

/// Fails with the list of problems, one a line.
#[track_caller]
fn assert_none(rule: &str, problems: &[String]) {
    assert!(problems.is_empty(), "{rule}; {} problems:\n  {}\n", problems.len(), problems.join("\n  "));
}

#[test]
#[cfg_attr(miri, ignore = "reads the source")]
fn no_files_import_each_other_in_a_circle() {
    let sources = own();
    assert_none("files must not import each other in a circle", &graph::circles(&sources, &imports_of(&sources)));
}

#[test]
#[cfg_attr(miri, ignore = "reads the source")]
fn imports_come_from_the_same_or_an_earlier_level() {
    let sources = own();
    let rule = "a file may import from its own level and from those that src/lib.rs declares before it";
    assert_none(rule, &graph::upward(&sources, &imports_of(&sources)));
}

#[test]
#[cfg_attr(miri, ignore = "reads the source")]
fn files_are_short() {
    assert_none("files must be short", &sizes::long_files(&own()));
}

#[test]
#[cfg_attr(miri, ignore = "reads the source")]
fn functions_are_short() {
    let sources = own();
    println!("{}", sizes::table(&sources));
    assert_none("functions must be short", &sizes::long_functions(&sources));
}

#[test]
#[cfg_attr(miri, ignore = "reads the source")]
fn no_type_name_stands_twice() {
    assert_none("a type name must stand once in the crate", &types::types_twice(&own()));
}

#[test]
#[cfg_attr(miri, ignore = "reads the source")]
fn folders_only_declare_and_re_export() {
    assert_none("a mod.rs must only declare and re-export", &declarations::folders_with_code(&own()));
}

#[test]
#[cfg_attr(miri, ignore = "reads the source")]
fn every_file_is_declared() {
    let sources = own();
    assert_none("every file must be declared by a `mod` item", &declarations::undeclared(&sources));
}

#[test]
#[cfg_attr(miri, ignore = "reads the documents")]
fn documents_name_files_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert_none("a path in a document must exist", &documents::dangling_paths(root));
}
