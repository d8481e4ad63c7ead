//! A `mod.rs` or `lib.rs` holds nothing but documentation, attributes, modules and `use` items.

use syn::Item;

use crate::sources::{Built, Source, Sources};

/// Lists the files of folders that hold code.
pub fn folders_with_code(sources: &Sources) -> Vec<String> {
    let folders = sources.files.iter().filter(|source| source.is_folder() && holds_code(source));
    folders.map(|source| format!("{}: holds code, expected only `mod` and `use` items", source.path)).collect()
}

/// Lists the files that no `mod` declaration reaches, so that no file escapes the checks.
pub fn undeclared(sources: &Sources) -> Vec<String> {
    let lost = sources.files.iter().filter(|source| source.built == Built::Never);
    lost.map(|source| format!("{}: no `mod` declaration reaches it", source.path)).collect()
}

/// Whether a file holds anything but modules, `use` items and calls of `compile_error!`, inside its modules too.
pub fn holds_code(source: &Source) -> bool {
    source.syntax.items.iter().any(is_code)
}

fn is_code(item: &Item) -> bool {
    match item {
        Item::Use(_) => false,
        Item::Mod(item) => item.content.iter().flat_map(|(_, items)| items).any(is_code),
        Item::Macro(item) => !item.mac.path.is_ident("compile_error"),
        _ => true,
    }
}
