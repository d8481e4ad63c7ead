//! Paths in the tokens of macros, which the parser leaves as they are.

use proc_macro2::{TokenStream, TokenTree};

/// A path of at least two names that starts at a line.
pub struct TokenPath {
    pub segments: Vec<String>,
    pub line: usize,
}

/// Lists the paths `a::b`, `crate::a` and `$crate::a` among the tokens, in groups too. A group that ends a path,
/// `a::{b, c}`, does not belong to it.
pub fn paths(tokens: TokenStream) -> Vec<TokenPath> {
    let mut found = Vec::new();
    add_paths(tokens, &mut found);
    found
}

fn add_paths(tokens: TokenStream, found: &mut Vec<TokenPath>) {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    let mut rest = trees.as_slice();
    // A name that follows `::`, `.` or `$` starts no path of this crate; `$crate` does.
    let mut follows = None;
    while let Some((tree, after)) = rest.split_first() {
        rest = after;
        let starts = match tree {
            TokenTree::Group(group) => {
                add_paths(group.stream(), found);
                None
            }
            TokenTree::Ident(name) if *name == "crate" || !matches!(follows, Some(':' | '.' | '$')) => Some(name),
            _ => None,
        };
        follows = match tree {
            TokenTree::Punct(mark) => Some(mark.as_char()),
            _ => None,
        };
        let Some(name) = starts else { continue };
        let mut path = TokenPath { segments: vec![name.to_string()], line: name.span().start().line };
        while let Some((next, after)) = next_segment(rest) {
            path.segments.push(next);
            rest = after;
        }
        if path.segments.len() > 1 {
            found.push(path);
        }
    }
}

/// Splits `::name` off the tokens.
fn next_segment(tokens: &[TokenTree]) -> Option<(String, &[TokenTree])> {
    match tokens {
        [TokenTree::Punct(first), TokenTree::Punct(second), TokenTree::Ident(name), after @ ..]
            if first.as_char() == ':' && second.as_char() == ':' =>
        {
            Some((name.to_string(), after))
        }
        _ => None,
    }
}
