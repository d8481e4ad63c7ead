//! The folder of a job under way, `OUT/.parts`: its fingerprint, the digests of its inputs and one file a finished layer.
//! Every file appears whole, under its final name, or not at all.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::fingerprint::Fingerprint;
use super::in_file;
use super::inputs::Inputs;
use crate::error::Error;

/// Name of the folder, and of what is left of it while it is removed.
const FOLDER: &str = ".parts";
const REMOVED: &str = ".parts-done";

/// Names in it: of the fingerprint, of the inputs' digests, and of the file that whoever finishes the job has locked.
const RECORD: &str = "job.json";
const INPUTS: &str = "inputs.json";
const LOCK: &str = "lock";

/// Where a job keeps what it has done so far.
pub(super) struct Parts {
    out: PathBuf,
}

/// How far the job in an output folder is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing is there.
    New,
    /// Layers may be done.
    Started,
    /// Only the output is there; is it a job's?
    Finished,
}

impl Parts {
    pub fn new(out: &Path) -> Self {
        Parts { out: out.to_owned() }
    }

    fn folder(&self) -> PathBuf {
        self.out.join(FOLDER)
    }

    fn part(&self, index: usize) -> PathBuf {
        self.folder().join(format!("{index:05}.safetensors"))
    }

    /// Finds out how far the job is.
    ///
    /// # Errors
    /// [`Error::OtherJob`] where its fingerprint is another.
    pub fn stage(&self, fingerprint: &Fingerprint) -> Result<Stage, Error> {
        if self.folder().is_dir() {
            return match self.record()? {
                Some(record) => match fingerprint.difference(&record) {
                    None => Ok(Stage::Started),
                    Some(difference) => Err(self.other(format!("holds another job: {difference}"))),
                },
                None => Ok(Stage::Started),
            };
        }
        let entries = match fs::read_dir(&self.out) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Stage::New),
            Err(error) => return Err(in_file(&self.out, error)),
        };
        let names: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.file_name()).collect();
        // The folder is there if another process has begun at this moment.
        Ok(if names.iter().any(|name| name == FOLDER) {
            Stage::Started
        } else if names.iter().any(|name| name != REMOVED) {
            Stage::Finished
        } else {
            Stage::New
        })
    }

    /// A refusal that names the output folder.
    pub fn other(&self, problem: impl Into<String>) -> Error {
        Error::OtherJob { path: self.out.display().to_string(), problem: problem.into() }
    }

    /// A refusal to go on with a job whose folder was removed meanwhile.
    pub fn lost(&self) -> Error {
        self.other("held this job, and does no more: it was removed while the job was open")
    }

    fn record(&self) -> Result<Option<String>, Error> {
        self.read(RECORD)
    }

    /// The digests of the inputs, if whoever began the job had taken them.
    pub fn inputs(&self) -> Result<Option<Inputs>, Error> {
        let parsed =
            |text: String| serde_json::from_str(&text).map_err(|error| in_file(&self.folder().join(INPUTS), error));
        self.read(INPUTS)?.map(parsed).transpose()
    }

    fn read(&self, name: &str) -> Result<Option<String>, Error> {
        let path = self.folder().join(name);
        match fs::read_to_string(&path) {
            Ok(record) => Ok(Some(record)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(in_file(&path, error)),
        }
    }

    /// Makes the folder with the fingerprint and the digests of the inputs, if they are known, unless they are there.
    /// Several processes may do so at once: the first one counts.
    pub fn begin(&self, fingerprint: &Fingerprint, inputs: Option<&Inputs>) -> Result<(), Error> {
        if self.record()?.is_none() {
            let folder = self.folder();
            fs::create_dir_all(&folder).map_err(|error| in_file(&folder, error))?;
            self.put_first(RECORD, &fingerprint.text())?;
            sync(&self.out)?;
        }
        if let Some(inputs) = inputs
            && !self.folder().join(INPUTS).exists()
        {
            self.put_first(INPUTS, &inputs.text())?;
        }
        let record = self.record()?.unwrap_or_default();
        match fingerprint.difference(&record) {
            None => Ok(()),
            Some(difference) => Err(self.other(format!("holds another job: {difference}"))),
        }
    }

    /// Writes a file of the folder unless another process has done so.
    fn put_first(&self, name: &str, text: &str) -> Result<(), Error> {
        let (mut file, path) = (self.temporary()?, self.folder().join(name));
        file.write_all(text.as_bytes()).map_err(|error| in_file(&path, error))?;
        file.as_file().sync_all().map_err(|error| in_file(&path, error))?;
        match file.persist_noclobber(&path) {
            Err(error) if error.error.kind() != ErrorKind::AlreadyExists => Err(in_file(&path, error.error)),
            _ => sync(&self.folder()),
        }
    }

    /// Waits until no other process finishes the job, and keeps others from it as long as the file is open. `None` where
    /// another has finished it, and the folder is gone.
    pub fn lock(&self) -> Result<Option<File>, Error> {
        let path = self.folder().join(LOCK);
        let file = match File::options().create(true).append(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(in_file(&path, error)),
        };
        match file.lock() {
            // A shared file system without locks: there, whoever uses it sees to it that one process finishes.
            Err(error) if error.kind() != ErrorKind::Unsupported => Err(in_file(&path, error)),
            _ => Ok((!self.are_gone()).then_some(file)),
        }
    }

    /// Whether the folder is not there: before a job, or after it.
    pub fn are_gone(&self) -> bool {
        !self.folder().is_dir()
    }

    /// Whether a layer is finished.
    pub fn has(&self, index: usize) -> bool {
        self.part(index).exists()
    }

    /// Keeps a finished layer.
    pub fn put(&self, index: usize, bytes: &[u8]) -> Result<(), Error> {
        self.write(self.temporary()?, bytes, &self.part(index))
    }

    /// Reads a finished layer, and says from which file.
    pub fn get(&self, index: usize) -> Result<(PathBuf, Vec<u8>), Error> {
        let path = self.part(index);
        let bytes = fs::read(&path).map_err(|error| in_file(&path, error))?;
        Ok((path, bytes))
    }

    /// A new file in the folder, which vanishes unless [`Parts::publish`] gives it a name.
    pub fn temporary(&self) -> Result<NamedTempFile, Error> {
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // What the user's umask leaves of it, as for any other file; the package's own default is private.
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        let folder = self.folder();
        builder.prefix(".").suffix(".tmp").tempfile_in(&folder).map_err(|error| in_file(&folder, error))
    }

    fn write(&self, mut file: NamedTempFile, bytes: &[u8], path: &Path) -> Result<(), Error> {
        file.write_all(bytes).map_err(|error| in_file(path, error))?;
        publish(file, path)
    }

    /// Writes a file of the output folder.
    pub fn put_output(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.write(self.temporary()?, bytes, &self.out.join(name))
    }

    /// Removes a file of the output folder, if it is there.
    pub fn remove_output(&self, name: &str) -> Result<(), Error> {
        let path = self.out.join(name);
        match fs::remove_file(&path) {
            Ok(()) => sync(&self.out),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(in_file(&path, error)),
        }
    }

    /// Gives a file its place in the output folder.
    pub fn publish(&self, file: NamedTempFile, name: &str) -> Result<(), Error> {
        publish(file, &self.out.join(name))
    }

    /// Removes the folder, in one step for whoever looks.
    pub fn remove(&self) -> Result<(), Error> {
        let (folder, removed) = (self.folder(), self.out.join(REMOVED));
        self.sweep()?;
        fs::rename(&folder, &removed).map_err(|error| in_file(&folder, error))?;
        sync(&self.out)?;
        self.sweep()
    }

    /// Removes what a kill left of a removal.
    pub fn sweep(&self) -> Result<(), Error> {
        let removed = self.out.join(REMOVED);
        match fs::remove_dir_all(&removed) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(in_file(&removed, error)),
            _ => Ok(()),
        }
    }
}

/// Brings a file to disk and gives it its name.
fn publish(file: NamedTempFile, path: &Path) -> Result<(), Error> {
    file.as_file().sync_all().map_err(|error| in_file(path, error))?;
    file.persist(path).map_err(|error| in_file(path, error.error))?;
    sync(path.parent().unwrap_or(Path::new(".")))
}

/// Brings a folder's names to disk.
fn sync(folder: &Path) -> Result<(), Error> {
    // Not every system can open a folder; where it cannot, there is no way to sync one.
    if cfg!(unix) {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| in_file(folder, error))?;
    }
    Ok(())
}
