//! The sizes of files and functions.

use syn::visit::{self, Visit};
use syn::{Block, ImplItemFn, Item, ItemFn, Signature, TraitItemFn};

use crate::sources::{Source, Sources, attributes, only_in_tests};

/// Most lines of a file.
const LONGEST_FILE: usize = 400;

/// Largest median of the files' lines.
const MEDIAN_FILE: usize = 150;

/// Most lines of a function, from its signature to its closing brace.
const LONGEST_FUNCTION: usize = 60;

/// Lists the files that are too long, and the median where it is too large.
pub fn long_files(sources: &Sources) -> Vec<String> {
    let long = sources.files.iter().filter(|source| source.lines > LONGEST_FILE);
    let mut problems: Vec<String> = long
        .map(|source| format!("{}: has {} lines, expected at most {LONGEST_FILE}", source.path, source.lines))
        .collect();
    let median = Quantiles::new(sources.files.iter().map(|source| source.lines).collect()).median;
    if median > MEDIAN_FILE {
        problems.push(format!("src: the median of the files is {median} lines, expected at most {MEDIAN_FILE}"));
    }
    problems
}

/// Lists the functions that are too long.
pub fn long_functions(sources: &Sources) -> Vec<String> {
    let long = |source| functions(source).into_iter().filter(|function| function.lines > LONGEST_FUNCTION);
    let describe = |source: &Source, Function { name, line, lines }: Function| {
        format!("{}:{line}: fn {name} has {lines} lines, expected at most {LONGEST_FUNCTION}", source.path)
    };
    sources.outside_tests().flat_map(|source| long(source).map(move |function| describe(source, function))).collect()
}

/// Writes a table of the sizes of files and functions, in lines.
pub fn table(sources: &Sources) -> String {
    let files = sources.files.iter().map(|source| source.lines).collect();
    let functions = sources.outside_tests().flat_map(functions).map(|function| function.lines).collect();
    let mut table = format!("{:<10}{:>7}{:>6}{:>6}{:>6}\n", "lines of", "count", "p50", "p90", "max");
    for (name, lines) in [("files", files), ("functions", functions)] {
        let Quantiles { count, median, ninth, largest } = Quantiles::new(lines);
        table += &format!("{name:<10}{count:>7}{median:>6}{ninth:>6}{largest:>6}\n");
    }
    table
}

/// Number of values, their 50th and 90th percentiles (nearest rank) and the largest; all zero where there are none.
struct Quantiles {
    count: usize,
    median: usize,
    ninth: usize,
    largest: usize,
}

impl Quantiles {
    fn new(mut values: Vec<usize>) -> Self {
        values.sort_unstable();
        let count = values.len();
        let at = |percent: usize| values.get((count * percent).div_ceil(100).max(1) - 1).copied().unwrap_or(0);
        Quantiles { count, median: at(50), ninth: at(90), largest: at(100) }
    }
}

struct Function {
    name: String,
    line: usize,
    lines: usize,
}

/// Lists the functions of a file that exist outside tests.
fn functions(source: &Source) -> Vec<Function> {
    let mut finder = Functions(Vec::new());
    finder.visit_file(&source.syntax);
    finder.0
}

struct Functions(Vec<Function>);

impl Functions {
    fn add(&mut self, signature: &Signature, body: &Block) {
        let line = signature.fn_token.span.start().line;
        let lines = body.brace_token.span.close().end().line - line + 1;
        self.0.push(Function { name: signature.ident.to_string(), line, lines });
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item(&mut self, item: &'ast Item) {
        if !only_in_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.add(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.add(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast TraitItemFn) {
        if let Some(body) = &function.default {
            self.add(&function.sig, body);
        }
        visit::visit_trait_item_fn(self, function);
    }
}
