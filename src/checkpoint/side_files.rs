//! The files of the model's folder that hold no weights: they go along, those of subfolders too.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::error::{CheckpointError, io_error};
use super::folder::{PARTS, REMOVED};
use super::model_files::{SkippedFile, entries};
use super::output_files::{REPORT, SUMMARY, output_name};
use super::shard_index::INDEX;
use super::source::Source;
use crate::result::formats::format::Format;

/// Endings of files that hold weights, in whatever format.
const WEIGHTS: [&str; 13] =
    ["safetensors", "bin", "pt", "pth", "ckpt", "h5", "msgpack", "gguf", "ggml", "onnx", "onnx_data", "npz", "tflite"];

/// Files with such an ending that hold no weights.
const NO_WEIGHTS: [&str; 1] = ["training_args.bin"];

/// Files and folders of version control and of download tools.
const TOOLS: [&str; 3] = [".git", ".gitattributes", ".cache"];

/// The files that a job copies, and those that it does not.
pub(super) struct SideFiles {
    /// Relative to the model's folder, sorted.
    pub copied: Vec<PathBuf>,
    pub skipped: Vec<SkippedFile>,
}

impl SideFiles {
    /// Lists the files of a model's folder, and checks that those to copy can be read; of a single file it lists none.
    pub fn of(checkpoint: &Source, out: &Path, format: Format) -> Result<Self, CheckpointError> {
        let mut files = SideFiles { copied: Vec::new(), skipped: Vec::new() };
        if checkpoint.path().is_dir() {
            let out = fs::canonicalize(out).ok();
            FolderWalk { checkpoint, out: out.as_deref(), format }.list(Path::new(""), &mut files)?;
        }
        Ok(files)
    }
}

/// A walk through a model's folder.
struct FolderWalk<'a> {
    checkpoint: &'a Source,
    out: Option<&'a Path>,
    format: Format,
}

impl FolderWalk<'_> {
    /// Adds the files below the subfolder `below`, sorted. Links to files are followed, as the caches of model hubs
    /// consist of such links; links to folders are not.
    fn list(&self, below: &Path, files: &mut SideFiles) -> Result<(), CheckpointError> {
        let here = self.checkpoint.path().join(below);
        for name in entries(&here)? {
            let (relative, path) = (below.join(&name), here.join(&name));
            let metadata = fs::metadata(&path);
            let is_folder = metadata.as_ref().is_ok_and(fs::Metadata::is_dir);
            if self.is_read(&relative) || (is_folder && self.is_output(&path)) {
                continue;
            }
            let reason = match metadata {
                Err(_) if path.is_symlink() => Some("it is a link that leads nowhere".to_owned()),
                Err(error) => return Err(io_error(&path)(error)),
                Ok(_) if is_folder && path.is_symlink() => Some("it is a link to a folder".to_owned()),
                Ok(metadata) => self.why_skipped(&relative, &metadata),
            };
            match reason {
                Some(reason) => files.skipped.push(SkippedFile::new(shown(&relative), reason)),
                None if is_folder => self.list(&relative, files)?,
                None => {
                    File::open(&path).map_err(io_error(&path))?;
                    files.copied.push(relative);
                }
            }
        }
        Ok(())
    }

    /// Says why a file or folder is not copied; `None` for what is.
    fn why_skipped(&self, relative: &Path, metadata: &fs::Metadata) -> Option<String> {
        let name = shown(relative);
        let file = name.rsplit('/').next().unwrap_or(&name);
        if TOOLS.contains(&file) {
            return Some("it belongs to version control or a download tool".to_owned());
        }
        if self.is_reserved(&name) {
            return Some("the job uses this name itself".to_owned());
        }
        if metadata.is_dir() {
            let path = self.checkpoint.path().join(relative);
            let is_output = path.join(REPORT).is_file() && path.join(SUMMARY).is_file();
            return is_output.then(|| "it is the output of a job".to_owned());
        }
        if !metadata.is_file() {
            return Some("it is neither a file nor a folder".to_owned());
        }
        if let Some(skipped) = self.checkpoint.skipped.iter().find(|skipped| skipped.file == name) {
            return Some(skipped.reason.clone());
        }
        if [INDEX, ".bin.index.json", ".h5.index.json"].iter().any(|index| file.ends_with(index)) {
            return Some("it is an index of other weights".to_owned());
        }
        let ending = file.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase())?;
        let is_weights = WEIGHTS.contains(&ending.as_str()) && !NO_WEIGHTS.contains(&file);
        is_weights.then(|| format!("it ends in .{ending}, as files with weights do"))
    }

    /// Whether the job reads a file as part of the model.
    fn is_read(&self, relative: &Path) -> bool {
        let is_index = self.checkpoint.index.as_ref().is_some_and(|index| relative.as_os_str() == index.name.as_str());
        is_index || self.checkpoint.shards.iter().any(|shard| relative.as_os_str() == shard.name().as_str())
    }

    /// Whether a folder is that of the output.
    fn is_output(&self, path: &Path) -> bool {
        self.out.is_some_and(|out| fs::canonicalize(path).is_ok_and(|path| path == out))
    }

    /// Whether a name, relative to the folder, is one that the job writes.
    fn is_reserved(&self, name: &str) -> bool {
        let shards = self.checkpoint.shards.iter().map(|shard| shard.name());
        let index = self.checkpoint.index.as_ref().map(|index| index.name.clone());
        let mut written = shards.chain(index).map(|name| output_name(&name, self.format).into_owned());
        [REPORT, SUMMARY, PARTS, REMOVED].contains(&name) || written.any(|written| written == name)
    }
}

/// A path with slashes, whatever the operating system.
fn shown(path: &Path) -> String {
    path.to_string_lossy().replace('\\', "/")
}
