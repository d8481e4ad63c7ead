//! The committed header is the one that cbindgen generates from the source.

use std::path::Path;

/// The files of `src/ffi` with public items, in the order of the header.
const SOURCES: [&str; 18] = [
    "version",
    "status",
    "messages",
    "view",
    "options",
    "progress",
    "factorization/handle",
    "factorization/create",
    "factorization/sizes",
    "factorization/report",
    "factorization/copy",
    "factorization/output_error",
    "factorization/serialize",
    "accumulator",
    "pair_accumulator",
    "packed",
    "job",
    "job_layer",
];

/// Generates the header from the source.
fn generated() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml is well formed");
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in SOURCES {
        builder = builder.with_src(root.join(format!("src/ffi/{source}.rs")));
    }
    let mut header = Vec::new();
    builder.generate().expect("C can express the source").write(&mut header);
    String::from_utf8(header).expect("a header is text")
}

#[test]
#[cfg_attr(miri, ignore = "reads the source")]
fn the_header_is_that_of_the_source() {
    let (header, path) = (generated(), Path::new(env!("CARGO_MANIFEST_DIR")).join("include/armor.h"));
    if std::env::var_os("ARMOR_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, &header).expect("include/armor.h can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let line = header.lines().zip(committed.lines()).position(|(made, found)| made != found);
    let line = line.unwrap_or(header.lines().count().min(committed.lines().count())) + 1;
    assert!(header == committed, "include/armor.h differs from line {line}: write it anew with ARMOR_BLESS=1");
}

#[test]
#[cfg_attr(miri, ignore = "reads the source")]
fn every_export_is_declared() {
    let header = generated();
    for export in crate::exports::in_source() {
        assert!(header.contains(&format!(" {export}(")) || header.contains(&format!("*{export}(")), "{export}");
    }
}
