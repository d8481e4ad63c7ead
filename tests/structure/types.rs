//! Every type name stands once in the crate, so that a name alone says what is meant.

use std::collections::BTreeMap;

use syn::visit::{self, Visit};
use syn::{Ident, Item};

use crate::sources::{Sources, attributes, only_in_tests};

/// Lists the names of structs, enums, unions, traits and type aliases that stand more than once, with their places.
/// Tests, associated types and types that macros make do not count.
pub fn types_twice(sources: &Sources) -> Vec<String> {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in sources.outside_tests() {
        let mut finder = Types(Vec::new());
        finder.visit_file(&source.syntax);
        for name in finder.0 {
            let place = format!("{}:{}", source.path, name.span().start().line);
            places.entry(name.to_string()).or_default().push(place);
        }
    }
    let twice = places.into_iter().filter(|(_, places)| places.len() > 1);
    twice.map(|(name, places)| format!("{name}: defined at {}", places.join(", "))).collect()
}

struct Types(Vec<Ident>);

impl<'ast> Visit<'ast> for Types {
    fn visit_item(&mut self, item: &'ast Item) {
        if only_in_tests(attributes(item)) {
            return;
        }
        let name = match item {
            Item::Enum(item) => Some(&item.ident),
            Item::Struct(item) => Some(&item.ident),
            Item::Trait(item) => Some(&item.ident),
            Item::Type(item) => Some(&item.ident),
            Item::Union(item) => Some(&item.ident),
            _ => None,
        };
        self.0.extend(name.cloned());
        visit::visit_item(self, item);
    }
}
