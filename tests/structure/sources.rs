//! The files of a crate: their text, their syntax trees, and the module that each of them is.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use syn::punctuated::Punctuated;
use syn::{Attribute, Item, Meta, Token};

/// A module's path from the root of the crate, without `crate`.
pub type ModulePath = Vec<String>;

/// One source file.
pub struct Source {
    /// Path from the crate's folder, `src/a/b.rs`.
    pub path: String,
    pub module: ModulePath,
    pub lines: usize,
    pub syntax: syn::File,
    pub built: Built,
}

/// In which builds of the crate a file takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Built {
    /// No `mod` declaration reaches the file.
    Never,
    /// A declaration under `#[cfg(test)]` reaches the file.
    InTests,
    Always,
}

impl Source {
    fn parse(path: &str, text: &str) -> Self {
        let syntax = syn::parse_file(text).unwrap_or_else(|error| panic!("{path} cannot be parsed: {error}"));
        let inner = path.strip_prefix("src/").and_then(|inner| inner.strip_suffix(".rs")).expect("a path of src/");
        let mut module: ModulePath = inner.split('/').map(str::to_owned).collect();
        if matches!(inner.rsplit('/').next(), Some("mod" | "lib")) {
            module.pop();
        }
        Source { path: path.to_owned(), module, lines: text.lines().count(), syntax, built: Built::Never }
    }

    /// Whether the file is a `mod.rs` or `lib.rs`, which may only declare modules and re-export names.
    pub fn is_folder(&self) -> bool {
        self.path.ends_with("/mod.rs") || self.path == "src/lib.rs"
    }
}

/// All files of a crate, in the order of their paths.
pub struct Sources {
    pub files: Vec<Source>,
}

impl Sources {
    /// Reads the files of `src/` in the crate's folder.
    pub fn read(folder: &Path) -> Self {
        let mut texts = BTreeMap::new();
        collect(folder, "src", &mut texts);
        Sources::parse(&texts)
    }

    /// Parses the files of a crate, given as a map from path to text.
    pub fn parse(texts: &BTreeMap<String, String>) -> Self {
        let mut files: Vec<Source> = texts.iter().map(|(path, text)| Source::parse(path, text)).collect();
        let mut reached = vec![(ModulePath::new(), Built::Always)];
        while let Some((module, built)) = reached.pop() {
            if let Some(file) = files.iter_mut().find(|source| source.module == module) {
                file.built = file.built.max(built);
                add_declared(&module, &file.syntax.items, built, &mut reached);
            }
        }
        Sources { files }
    }

    /// The files that take part in builds other than tests.
    pub fn outside_tests(&self) -> impl Iterator<Item = &Source> {
        self.files.iter().filter(|source| source.built == Built::Always)
    }
}

/// Adds the modules that `mod` items without a body declare.
fn add_declared(module: &ModulePath, items: &[Item], built: Built, declared: &mut Vec<(ModulePath, Built)>) {
    for item in items {
        let Item::Mod(item) = item else { continue };
        let child = join(module, &item.ident.to_string());
        let built = if only_in_tests(&item.attrs) { Built::InTests } else { built };
        match &item.content {
            Some((_, items)) => add_declared(&child, items, built, declared),
            None => declared.push((child, built)),
        }
    }
}

/// The path of a child module.
pub fn join(module: &ModulePath, child: &str) -> ModulePath {
    module.iter().cloned().chain([child.to_owned()]).collect()
}

fn collect(folder: &Path, inner: &str, texts: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder.join(inner)).expect("the folder can be read") {
        let entry = entry.expect("the folder can be read");
        let path = format!("{inner}/{}", entry.file_name().to_str().expect("file names are UTF-8"));
        if entry.path().is_dir() {
            collect(folder, &path, texts);
        } else if path.ends_with(".rs") {
            texts.insert(path, fs::read_to_string(entry.path()).expect("the file is UTF-8"));
        }
    }
}

/// Whether an item with these attributes exists only in tests.
pub fn only_in_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg")
                && attribute.parse_args::<Meta>().is_ok_and(|predicate| requires_test(&predicate))
    })
}

/// Whether a `cfg` predicate is false in every build that is not a test.
fn requires_test(predicate: &Meta) -> bool {
    let Meta::List(list) = predicate else { return predicate.path().is_ident("test") };
    let parts = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).unwrap_or_default();
    match list.path.get_ident() {
        Some(name) if name == "all" => parts.iter().any(requires_test),
        Some(name) if name == "any" => !parts.is_empty() && parts.iter().all(requires_test),
        _ => false,
    }
}

/// The attributes of an item; none for tokens that the parser does not understand.
pub fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
