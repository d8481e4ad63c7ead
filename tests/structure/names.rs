//! The names of every module, and which file defines the item that a path names.

use std::collections::{BTreeMap, BTreeSet};

use syn::{Ident, Item};

use crate::sources::{ModulePath, Sources, attributes, join, only_in_tests};
use crate::uses::flatten;

/// What a path names: a module, or an item in the file with this index. Names behind an item, such as the variants of
/// an enum, belong to the item.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    Module(ModulePath),
    Item(usize),
}

enum Meaning {
    Target(Target),
    Import(Vec<String>),
}

#[derive(Default)]
struct Module {
    file: usize,
    names: BTreeMap<String, Vec<Meaning>>,
    globs: Vec<Vec<String>>,
}

/// The names of all modules that exist outside tests.
pub struct Names {
    modules: BTreeMap<ModulePath, Module>,
}

/// Lookups under way, so that names that are imported in a circle end the search.
type Visited = BTreeSet<(ModulePath, String)>;

impl Names {
    /// Follows the `mod` declarations from `src/lib.rs`.
    pub fn new(sources: &Sources) -> Self {
        let mut names = Names { modules: BTreeMap::new() };
        names.add_file(sources, &Vec::new());
        names
    }

    /// Finds what `path` names in the module `scope`; nothing for items of other crates.
    ///
    /// A name that its module does not show, such as an item that a macro makes, counts as an item of the module's
    /// file.
    pub fn resolve(&self, scope: &ModulePath, path: &[String]) -> BTreeSet<Target> {
        self.find(scope, path, &mut Visited::new())
    }

    /// Finds what all names of a module that a glob import names are.
    pub fn resolve_glob(&self, scope: &ModulePath, path: &[String]) -> BTreeSet<Target> {
        let mut targets = BTreeSet::new();
        for target in self.resolve(scope, path) {
            match &target {
                Target::Item(_) => targets.extend([target]),
                Target::Module(module) => {
                    let names = self.modules[module].names.keys();
                    targets.extend(names.flat_map(|name| self.resolve(module, std::slice::from_ref(name))));
                }
            }
        }
        targets
    }

    /// The index of the file that defines a target.
    pub fn file_of(&self, target: &Target) -> usize {
        match target {
            Target::Item(file) => *file,
            Target::Module(module) => self.modules[module].file,
        }
    }

    fn add_file(&mut self, sources: &Sources, module: &ModulePath) {
        if let Some(file) = sources.files.iter().position(|source| source.module == *module) {
            self.add_module(sources, module, file, &sources.files[file].syntax.items);
        }
    }

    fn add_module(&mut self, sources: &Sources, path: &ModulePath, file: usize, items: &[Item]) {
        let mut module = Module { file, ..Module::default() };
        for item in items.iter().filter(|item| !only_in_tests(attributes(item))) {
            match item {
                Item::Use(item) => {
                    for used in flatten(&item.tree) {
                        if used.glob {
                            module.globs.push(used.path);
                        } else {
                            module.names.entry(used.name).or_default().push(Meaning::Import(used.path));
                        }
                    }
                }
                Item::Mod(item) => {
                    let child = join(path, &item.ident.to_string());
                    match &item.content {
                        Some((_, items)) => self.add_module(sources, &child, file, items),
                        None => self.add_file(sources, &child),
                    }
                    let meanings = module.names.entry(item.ident.to_string()).or_default();
                    meanings.push(Meaning::Target(Target::Module(child)));
                }
                item => {
                    if let Some(name) = defined(item) {
                        let meanings = module.names.entry(name.to_string()).or_default();
                        meanings.push(Meaning::Target(Target::Item(file)));
                    }
                }
            }
        }
        self.modules.insert(path.clone(), module);
    }

    fn find(&self, scope: &ModulePath, path: &[String], visited: &mut Visited) -> BTreeSet<Target> {
        let (mut module, mut rest, mut inside) = (scope.clone(), path, false);
        while let Some((first, after)) = rest.split_first() {
            match first.as_str() {
                "crate" => module.clear(),
                "super" => module.truncate(module.len().saturating_sub(1)),
                "self" => {}
                _ => break,
            }
            (rest, inside) = (after, true);
        }
        let mut targets = BTreeSet::from([Target::Module(module)]);
        for name in rest {
            let mut next = BTreeSet::new();
            for target in targets {
                match target {
                    Target::Item(_) => next.extend([target]),
                    Target::Module(module) => match self.look_up(&module, name, visited) {
                        Some(found) => next.extend(found),
                        None if inside => {
                            next.extend(self.modules.get(&module).map(|module| Target::Item(module.file)))
                        }
                        None => {}
                    },
                }
            }
            (targets, inside) = (next, true);
        }
        targets.retain(|target| matches!(target, Target::Item(_)) || self.exists(target));
        targets
    }

    fn exists(&self, target: &Target) -> bool {
        matches!(target, Target::Module(module) if self.modules.contains_key(module))
    }

    /// Looks for a name of a module; `None` where the module does not show it.
    fn look_up(&self, path: &ModulePath, name: &str, visited: &mut Visited) -> Option<BTreeSet<Target>> {
        let module = self.modules.get(path)?;
        if !visited.insert((path.clone(), name.to_owned())) {
            return Some(BTreeSet::new());
        }
        let mut found = BTreeSet::new();
        if let Some(meanings) = module.names.get(name) {
            for meaning in meanings {
                match meaning {
                    Meaning::Target(target) => found.extend([target.clone()]),
                    Meaning::Import(path_of_import) => found.extend(self.find(path, path_of_import, visited)),
                }
            }
            return Some(found);
        }
        for glob in &module.globs {
            for target in self.find(path, glob, visited) {
                if let Target::Module(other) = target {
                    found.extend(self.look_up(&other, name, visited).into_iter().flatten());
                }
            }
        }
        (!found.is_empty()).then_some(found)
    }
}

/// The name that an item defines in its module.
fn defined(item: &Item) -> Option<&Ident> {
    match item {
        Item::Const(item) => Some(&item.ident),
        Item::Enum(item) => Some(&item.ident),
        Item::Fn(item) => Some(&item.sig.ident),
        Item::Macro(item) => item.ident.as_ref(),
        Item::Static(item) => Some(&item.ident),
        Item::Struct(item) => Some(&item.ident),
        Item::Trait(item) => Some(&item.ident),
        Item::Type(item) => Some(&item.ident),
        Item::Union(item) => Some(&item.ident),
        _ => None,
    }
}
