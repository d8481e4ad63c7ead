//! Writes results into a folder.

use std::fs;
use std::path::Path;

use super::Result;

/// Makes the output folder, with its parents, unless it is there.
pub fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()).into())
}

/// Writes a file that appears whole or not at all: under a temporary name first.
pub fn put(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let (path, partial) = (folder.join(name), folder.join(format!("{name}.partial")));
    fs::write(&partial, bytes)
        .and_then(|()| fs::rename(&partial, &path))
        .map_err(|error| format!("{}: {error}", path.display()).into())
}
