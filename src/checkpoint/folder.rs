//! The output folder of a job, and in it the folder of a job under way, `OUT/.parts`: its fingerprint, the digests of its
//! inputs and one file for each finished layer. Every file appears whole, under its final name, or not at all.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::error::{CheckpointError, io_error};

/// The name of the folder of parts, and its name while it is being removed.
pub(super) const PARTS: &str = ".parts";
pub(super) const REMOVED: &str = ".parts-done";

/// Names in the folder of parts: of the fingerprint, of the inputs' digests, and of the file that the process which
/// finishes the job has locked.
pub(super) const RECORD: &str = "job.json";
pub(super) const INPUTS: &str = "inputs.json";
const LOCK: &str = "lock";

/// The output folder of a job, with the folder of its parts.
pub(super) struct JobFolder {
    out: PathBuf,
}

/// What an output folder holds.
pub(super) struct FolderContent {
    /// The folder of parts.
    pub parts: bool,
    /// Any other file.
    pub other: bool,
}

impl JobFolder {
    pub fn new(out: &Path) -> Self {
        JobFolder { out: out.to_owned() }
    }

    fn parts(&self) -> PathBuf {
        self.out.join(PARTS)
    }

    fn part(&self, index: usize) -> PathBuf {
        self.parts().join(format!("{index:05}.safetensors"))
    }

    /// Which of its files the output folder has; `None` where there is no output folder.
    pub fn content(&self) -> Result<Option<FolderContent>, CheckpointError> {
        let entries = match fs::read_dir(&self.out) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error(&self.out)(error)),
        };
        let names: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.file_name()).collect();
        let parts = names.iter().any(|name| name == PARTS);
        Ok(Some(FolderContent { parts, other: names.iter().any(|name| name != PARTS && name != REMOVED) }))
    }

    /// An error that says what the output folder holds instead of this job.
    pub fn other(&self, problem: impl Into<String>) -> CheckpointError {
        CheckpointError::OtherJob { path: self.out.clone(), problem: problem.into() }
    }

    /// Reads a text of the folder of parts, if it is there.
    pub fn read(&self, name: &str) -> Result<Option<String>, CheckpointError> {
        let path = self.path_of(name);
        match fs::read_to_string(&path) {
            Ok(record) => Ok(Some(record)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error(&path)(error)),
        }
    }

    /// Makes the folder of parts.
    pub fn make(&self) -> Result<(), CheckpointError> {
        let parts = self.parts();
        fs::create_dir_all(&parts).map_err(io_error(&parts))?;
        sync(&self.out)
    }

    /// Writes a text of the folder of parts, unless it is there: of several processes the first one counts.
    pub fn put_first(&self, name: &str, text: &str) -> Result<(), CheckpointError> {
        let (mut file, path) = (self.temporary()?, self.path_of(name));
        file.write_all(text.as_bytes()).map_err(io_error(&path))?;
        file.as_file().sync_all().map_err(io_error(&path))?;
        match file.persist_noclobber(&path) {
            Err(error) if error.error.kind() != ErrorKind::AlreadyExists => Err(io_error(&path)(error.error)),
            _ => sync(&self.parts()),
        }
    }

    /// Waits until no other process finishes the job, and keeps other processes from finishing it as long as the file is
    /// open. `None` where another process has finished the job and the folder of parts is gone.
    pub fn lock(&self) -> Result<Option<File>, CheckpointError> {
        let path = self.parts().join(LOCK);
        let file = match File::options().create(true).append(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error(&path)(error)),
        };
        match file.lock() {
            // A shared file system without locks: there, the user starts one process alone to finish the job.
            Err(error) if error.kind() != ErrorKind::Unsupported => Err(io_error(&path)(error)),
            _ => Ok((!self.has_no_parts()).then_some(file)),
        }
    }

    /// Whether there is no folder of parts: before a job, or after it.
    pub fn has_no_parts(&self) -> bool {
        !self.parts().is_dir()
    }

    /// Whether a text is in the folder of parts.
    pub fn has_text(&self, name: &str) -> bool {
        self.path_of(name).exists()
    }

    /// The path of a text in the folder of parts.
    pub fn path_of(&self, name: &str) -> PathBuf {
        self.parts().join(name)
    }

    /// Whether a layer is finished.
    pub fn has_layer(&self, index: usize) -> bool {
        self.part(index).exists()
    }

    /// Keeps a finished layer.
    pub fn put_layer(&self, index: usize, bytes: &[u8]) -> Result<(), CheckpointError> {
        self.write(self.temporary()?, bytes, &self.part(index))
    }

    /// Reads a finished layer, and says from which file.
    pub fn get_layer(&self, index: usize) -> Result<(PathBuf, Vec<u8>), CheckpointError> {
        let path = self.part(index);
        let bytes = fs::read(&path).map_err(io_error(&path))?;
        Ok((path, bytes))
    }

    /// A new file in the folder of parts, which is removed when it is dropped unless [`JobFolder::publish`] names it.
    pub fn temporary(&self) -> Result<NamedTempFile, CheckpointError> {
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // The user's umask applies, as to any other file; the default of the package is a private file.
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let parts = self.parts();
        builder.prefix(".").suffix(".tmp").tempfile_in(&parts).map_err(io_error(&parts))
    }

    fn write(&self, mut file: NamedTempFile, bytes: &[u8], path: &Path) -> Result<(), CheckpointError> {
        file.write_all(bytes).map_err(io_error(path))?;
        publish(file, path)
    }

    /// Writes a file of the output folder.
    pub fn put_output(&self, name: &str, bytes: &[u8]) -> Result<(), CheckpointError> {
        self.write(self.temporary()?, bytes, &self.out.join(name))
    }

    /// Copies the file `from` to the path `relative` in the output folder.
    pub fn copy_output(&self, from: &Path, relative: &Path) -> Result<(), CheckpointError> {
        let to = self.out.join(relative);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(io_error(folder))?;
        }
        let (mut source, mut file) = (File::open(from).map_err(io_error(from))?, self.temporary()?);
        io::copy(&mut source, file.as_file_mut()).map_err(io_error(&to))?;
        publish(file, &to)
    }

    /// Removes a file of the output folder, if it is there.
    pub fn remove_output(&self, name: &str) -> Result<(), CheckpointError> {
        let path = self.out.join(name);
        match fs::remove_file(&path) {
            Ok(()) => sync(&self.out),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(io_error(&path)(error)),
        }
    }

    /// Gives a file its place in the output folder.
    pub fn publish(&self, file: NamedTempFile, name: &str) -> Result<(), CheckpointError> {
        publish(file, &self.out.join(name))
    }

    /// Removes the folder of parts, in one step as seen by other processes.
    pub fn remove(&self) -> Result<(), CheckpointError> {
        let (parts, removed) = (self.parts(), self.out.join(REMOVED));
        self.sweep()?;
        fs::rename(&parts, &removed).map_err(io_error(&parts))?;
        sync(&self.out)?;
        self.sweep()
    }

    /// Completes a removal that a kill has cut short.
    pub fn sweep(&self) -> Result<(), CheckpointError> {
        let removed = self.out.join(REMOVED);
        match fs::remove_dir_all(&removed) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error(&removed)(error)),
            _ => Ok(()),
        }
    }
}

/// Brings a file to disk and gives it its name.
fn publish(file: NamedTempFile, path: &Path) -> Result<(), CheckpointError> {
    file.as_file().sync_all().map_err(io_error(path))?;
    file.persist(path).map_err(|error| io_error(path)(error.error))?;
    sync(path.parent().unwrap_or(Path::new(".")))
}

/// Brings a folder's names to disk.
fn sync(folder: &Path) -> Result<(), CheckpointError> {
    // Not every system can open a folder; where it cannot, there is no way to sync one.
    if cfg!(unix) {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(io_error(folder))?;
    }
    Ok(())
}
