//! SHA-256 of what a job reads and writes, in hexadecimal.

use std::fs::File;
use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::error::{CheckpointError, io_error};

/// A digest that is added up piece by piece.
pub(super) struct Sum(Sha256);

impl Sum {
    pub fn new() -> Self {
        Sum(Sha256::new())
    }

    pub fn add(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    pub fn text(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The digest of these pieces, one after another.
pub(super) fn of<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut sum = Sum::new();
    for piece in pieces {
        sum.add(piece);
    }
    sum.text()
}

/// The digest of a whole file.
pub(super) fn of_file(path: &Path) -> Result<String, CheckpointError> {
    let mut sum = Sum::new();
    File::open(path).and_then(|mut file| io::copy(&mut file, &mut sum.0)).map_err(io_error(path))?;
    Ok(sum.text())
}
