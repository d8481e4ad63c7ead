//! The files of the model's folder that hold no weights: they go along, those of subfolders too.

use std::fs;
use std::path::{Path, PathBuf};

use super::context::JobContext;
use super::error::{CheckpointError, io_error};
use super::model_files::SkippedFile;
use super::{model_config, report, summary};

/// Endings of files that hold weights, in whatever format.
const WEIGHTS: [&str; 13] =
    ["safetensors", "bin", "pt", "pth", "ckpt", "h5", "msgpack", "gguf", "ggml", "onnx", "onnx_data", "npz", "tflite"];

/// Files and folders of version control and of download tools.
const TOOLS: [&str; 3] = [".git", ".gitattributes", ".cache"];
const OF_A_TOOL: &str = "belongs to version control or a download tool";

/// Copies the files, and changes `config.json` where the format needs it. Returns those that are not copied.
pub(super) fn copy(job: &JobContext) -> Result<Vec<SkippedFile>, CheckpointError> {
    let folder = job.checkpoint.path();
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let out = fs::canonicalize(&job.settings.out).map_err(io_error(&job.settings.out))?;
    let mut found = FolderFiles { root: folder.to_owned(), out, files: Vec::new(), skipped: Vec::new() };
    found.list(Path::new(""))?;
    for file in found.files {
        let (path, name) = (folder.join(&file), shown(&file));
        if let Some(reason) = why_skipped(&name) {
            if !is_read(job, &name) {
                found.skipped.push(SkippedFile::new(name, reason));
            }
        } else if name == model_config::NAME {
            let text = fs::read(&path).map_err(io_error(&path))?;
            job.folder.put_output(&name, &model_config::rewritten(job, &path, &text)?)?;
        } else {
            job.folder.copy_output(&path, &file)?;
        }
    }
    Ok(found.skipped)
}

/// The files of a folder and its subfolders, but for the output folder.
struct FolderFiles {
    root: PathBuf,
    out: PathBuf,
    files: Vec<PathBuf>,
    skipped: Vec<SkippedFile>,
}

impl FolderFiles {
    /// Adds the files below the subfolder `below`, sorted. Links to files are followed, as the caches of model hubs
    /// consist of such links; links to folders are not.
    fn list(&mut self, below: &Path) -> Result<(), CheckpointError> {
        let here = self.root.join(below);
        let mut names = Vec::new();
        for entry in fs::read_dir(&here).map_err(io_error(&here))? {
            names.push(entry.map_err(io_error(&here))?.file_name());
        }
        names.sort();
        for name in names {
            let (relative, path) = (below.join(&name), here.join(&name));
            let is_link = path.is_symlink();
            let skip = |reason: &str| SkippedFile::new(shown(&relative), reason);
            match fs::metadata(&path) {
                Err(_) if is_link => self.skipped.push(skip("is a link that leads nowhere")),
                Err(error) => return Err(io_error(&path)(error)),
                Ok(metadata) if metadata.is_file() => self.files.push(relative),
                Ok(metadata) if !metadata.is_dir() => self.skipped.push(skip("is neither a file nor a folder")),
                Ok(_) if is_link => self.skipped.push(skip("is a link to a folder")),
                Ok(_) if TOOLS.iter().any(|tool| name == *tool) => self.skipped.push(skip(OF_A_TOOL)),
                Ok(_) if fs::canonicalize(&path).map_err(io_error(&path))? == self.out => {}
                Ok(_) => self.list(&relative)?,
            }
        }
        Ok(())
    }
}

/// A path with slashes, whatever the operating system.
fn shown(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "/")
}

/// Says why a file is not copied; `None` for a file that is.
fn why_skipped(name: &str) -> Option<&'static str> {
    let file = name.rsplit('/').next().unwrap_or(name);
    let ending = file.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    if ending.is_some_and(|ending| WEIGHTS.contains(&ending.as_str())) {
        return Some("holds weights of the uncompressed model");
    }
    if file.ends_with(".json")
        && [".safetensors.index.", ".bin.index.", ".h5.index."].iter().any(|index| file.contains(index))
    {
        return Some("is an index of other weights");
    }
    if TOOLS.contains(&file) {
        return Some(OF_A_TOOL);
    }
    [report::NAME, summary::NAME].contains(&name).then_some("is replaced by the job's own file")
}

/// Whether the job reads a file as part of the model.
fn is_read(job: &JobContext, name: &str) -> bool {
    let is_index = job.checkpoint.index.as_ref().is_some_and(|index| index.name == name);
    is_index || job.checkpoint.shards.iter().any(|shard| shard.name() == name)
}
