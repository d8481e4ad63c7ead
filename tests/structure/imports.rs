//! Which file imports which: every path that names an item of another file of the crate.
//!
//! Paths in `use` items and in code count, code under `#[cfg(test)]` does not. In macros, whose tokens are not parsed,
//! every `a::b` counts as a path, looked up in the module where it stands. Items that macros make, names without a path
//! in macros, and paths in attributes and documentation are not seen.

use std::collections::BTreeSet;

use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, ItemMod, ItemUse, Macro, Path, Stmt, TraitItem, Visibility};

use crate::declarations::holds_code;
use crate::names::{Names, Target};
use crate::sources::{Built, ModulePath, Source, Sources, attributes, join, only_in_tests};
use crate::tokens;
use crate::uses::flatten;

/// An import of one file by another, both by index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Import {
    pub from: usize,
    pub to: usize,
    /// Line of the importing file.
    pub line: usize,
    /// The path as it is written there.
    pub path: String,
}

/// Lists the imports of all files that exist outside tests.
pub fn imports(sources: &Sources, names: &Names) -> Vec<Import> {
    let mut imports = BTreeSet::new();
    for (from, source) in sources.files.iter().enumerate() {
        if source.built == Built::Always {
            let mut finder = Finder { from, scope: source.module.clone(), source, names, imports: &mut imports };
            finder.visit_file(&source.syntax);
        }
    }
    imports.into_iter().collect()
}

struct Finder<'a> {
    from: usize,
    scope: ModulePath,
    source: &'a Source,
    names: &'a Names,
    imports: &'a mut BTreeSet<Import>,
}

impl Finder<'_> {
    fn add(&mut self, targets: BTreeSet<Target>, line: usize, path: &str) {
        for target in targets {
            let to = self.names.file_of(&target);
            if to != self.from {
                self.imports.insert(Import { from: self.from, to, line, path: path.to_owned() });
            }
        }
    }

    /// Whether a `use` item passes a name on and imports nothing: every one of a `mod.rs` or `lib.rs` does, but those
    /// that serve code of the file itself.
    fn passes_on(&self, item: &ItemUse) -> bool {
        let private = matches!(item.vis, Visibility::Inherited);
        self.source.is_folder() && !(private && holds_code(self.source))
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !only_in_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        if !matches!(item, ImplItem::Fn(function) if only_in_tests(&function.attrs)) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_trait_item(&mut self, item: &'ast TraitItem) {
        if !matches!(item, TraitItem::Fn(function) if only_in_tests(&function.attrs)) {
            visit::visit_trait_item(self, item);
        }
    }

    fn visit_stmt(&mut self, statement: &'ast Stmt) {
        if !matches!(statement, Stmt::Local(local) if only_in_tests(&local.attrs)) {
            visit::visit_stmt(self, statement);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.scope = join(&self.scope, &item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.scope.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if item.leading_colon.is_some() || self.passes_on(item) {
            return;
        }
        for used in flatten(&item.tree) {
            let path = used.path.join("::");
            if used.glob {
                self.add(self.names.resolve_glob(&self.scope, &used.path), used.line, &format!("{path}::*"));
            } else {
                self.add(self.names.resolve(&self.scope, &used.path), used.line, &path);
            }
        }
    }

    fn visit_path(&mut self, path: &'ast Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        // A single name is a local one, or a `use` item that is counted already.
        if path.leading_colon.is_none() && segments.len() > 1 {
            let line = path.segments[0].ident.span().start().line;
            self.add(self.names.resolve(&self.scope, &segments), line, &segments.join("::"));
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.visit_path(&call.path);
        for path in tokens::paths(call.tokens.clone()) {
            self.add(self.names.resolve(&self.scope, &path.segments), path.line, &path.segments.join("::"));
        }
    }

    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_attribute(&mut self, _: &'ast Attribute) {}
}
