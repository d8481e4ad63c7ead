//! Rules of the import graph: no circles, and no import of a later level.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use syn::Item;

use crate::imports::Import;
use crate::sources::Sources;

/// Lists the circles of imports: for every import that lies on a circle, the shortest one.
pub fn circles(sources: &Sources, imports: &[Import]) -> Vec<String> {
    let mut edges: BTreeMap<usize, BTreeMap<usize, &Import>> = BTreeMap::new();
    for import in imports {
        edges.entry(import.from).or_default().entry(import.to).or_insert(import);
    }
    let mut circles = BTreeSet::new();
    for (&from, targets) in &edges {
        for &to in targets.keys() {
            if let Some(mut circle) = shortest(&edges, to, from) {
                let first = circle.iter().enumerate().min_by_key(|(_, file)| **file).map_or(0, |(index, _)| index);
                circle.rotate_left(first);
                circles.insert(circle);
            }
        }
    }
    circles.iter().map(|circle| describe(sources, &edges, circle)).collect()
}

/// Finds the shortest chain of imports from one file to another, both ends included.
fn shortest(edges: &BTreeMap<usize, BTreeMap<usize, &Import>>, from: usize, to: usize) -> Option<Vec<usize>> {
    let mut previous = BTreeMap::from([(from, from)]);
    let mut queue = VecDeque::from([from]);
    while let Some(file) = queue.pop_front() {
        if file == to {
            let mut chain = vec![to];
            while chain[chain.len() - 1] != from {
                chain.push(previous[&chain[chain.len() - 1]]);
            }
            chain.reverse();
            return Some(chain);
        }
        for &next in edges.get(&file).into_iter().flat_map(BTreeMap::keys) {
            previous.entry(next).or_insert_with(|| {
                queue.push_back(next);
                file
            });
        }
    }
    None
}

/// Writes a circle as `a.rs:3 (crate::b::B) -> b.rs:7 (crate::a::A) -> a.rs`.
fn describe(sources: &Sources, edges: &BTreeMap<usize, BTreeMap<usize, &Import>>, circle: &[usize]) -> String {
    let mut text = String::new();
    for (index, from) in circle.iter().enumerate() {
        let import = edges[from][&circle[(index + 1) % circle.len()]];
        text += &format!("{}:{} ({}) -> ", sources.files[*from].path, import.line, import.path);
    }
    text + &sources.files[circle[0]].path
}

/// Lists the imports of a level that `src/lib.rs` declares after the importing file's own level.
pub fn upward(sources: &Sources, imports: &[Import]) -> Vec<String> {
    let root = sources.files.iter().find(|source| source.path == "src/lib.rs").expect("the crate has a src/lib.rs");
    let modules = root.syntax.items.iter().filter_map(|item| match item {
        Item::Mod(item) => Some(item.ident.to_string()),
        _ => None,
    });
    let levels: BTreeMap<String, usize> = modules.zip(0..).collect();
    let level = |file: usize| sources.files[file].module.first().map(|name| (levels[name], name));
    let mut upward = Vec::new();
    for import in imports {
        if let (Some((from, own)), Some((to, later))) = (level(import.from), level(import.to))
            && to > from
        {
            let path = &sources.files[import.from].path;
            let (line, item) = (import.line, &import.path);
            upward.push(format!("{path}:{line}: imports {item} of the later level `{later}` into `{own}`"));
        }
    }
    upward
}
