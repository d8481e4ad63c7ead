//! Paths that the documents name.

use std::fs;
use std::path::Path;

/// The documents that name files of the repository.
const DOCUMENTS: [&str; 3] = ["README.md", "docs/architecture.md", "docs/algorithm.md"];

/// Paths in backticks, ending in `.rs` or `/`, that no file or folder of the repository ends with.
pub fn dangling_paths(root: &Path) -> Vec<String> {
    let known = paths(root, "");
    let mut dangling = Vec::new();
    for document in DOCUMENTS {
        let text = fs::read_to_string(root.join(document)).expect("the document is there");
        // Code blocks hold no links.
        let prose: String = text.split("```").step_by(2).collect();
        for named in prose.split('`').skip(1).step_by(2) {
            let is_path = named.ends_with(".rs") || named.ends_with('/');
            if is_path && !is_known(&known, named) {
                dangling.push(format!("{document}: `{named}`"));
            }
        }
    }
    dangling
}

/// Whether a path is one of the repository's, from its root or from any folder on.
fn is_known(known: &[String], named: &str) -> bool {
    known.iter().any(|path| path.strip_suffix(named).is_some_and(|before| before.is_empty() || before.ends_with('/')))
}

/// Every file below a folder, and every folder with a slash at its end.
fn paths(root: &Path, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join(prefix)).expect("the folder is there") {
        let entry = entry.expect("readable");
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "target" || name == ".git" {
            continue;
        }
        let path = format!("{prefix}{name}");
        if entry.path().is_dir() {
            found.extend(paths(root, &format!("{path}/")));
            found.push(format!("{path}/"));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_path_is_known_by_its_whole_components() {
    let known = ["src/descent/run.rs".to_owned(), "src/descent/".to_owned()];
    for named in ["run.rs", "descent/run.rs", "src/descent/run.rs", "descent/"] {
        assert!(is_known(&known, named), "{named}");
    }
    for named in ["un.rs", "packed/run.rs", "descents/"] {
        assert!(!is_known(&known, named), "{named}");
    }
}
