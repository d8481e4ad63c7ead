//! The names that `use` items bring in.

use syn::{Ident, UseTree};

use crate::sources::join;

/// One name, or all names (`*`), that a `use` item brings into its module.
pub struct Used {
    /// The path as it is written; that of the module where all its names come in.
    pub path: Vec<String>,
    pub glob: bool,
    pub line: usize,
    /// The name that it gets in the module.
    pub name: String,
}

/// Lists the names that a `use` item brings in.
pub fn flatten(tree: &UseTree) -> Vec<Used> {
    let mut used = Vec::new();
    add_names(tree, &[], &mut used);
    used
}

fn add_names(tree: &UseTree, before: &[String], used: &mut Vec<Used>) {
    let mut add = |ident: &Ident, name: &Ident| {
        let mut path = before.to_vec();
        if ident != "self" || path.is_empty() {
            path.push(ident.to_string());
        }
        let name = if name == "self" { path.last().cloned().unwrap_or_default() } else { name.to_string() };
        used.push(Used { path, glob: false, line: ident.span().start().line, name });
    };
    match tree {
        UseTree::Name(leaf) => add(&leaf.ident, &leaf.ident),
        UseTree::Rename(leaf) => add(&leaf.ident, &leaf.rename),
        UseTree::Glob(leaf) => {
            let line = leaf.star_token.spans[0].start().line;
            used.push(Used { path: before.to_vec(), glob: true, line, name: String::new() });
        }
        UseTree::Path(branch) => add_names(&branch.tree, &join(&before.to_vec(), &branch.ident.to_string()), used),
        UseTree::Group(group) => group.items.iter().for_each(|tree| add_names(tree, before, used)),
    }
}
