//! One safetensors file: its header checked when it is opened, its tensors mapped into memory one at a time.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use bytemuck::Pod;
use memmap2::{Mmap, MmapOptions};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::digest::Sum;
use super::error::{CheckpointError, file_error, io_error, tensor_error};
use crate::bytes::header::{LENGTH, LONGEST, Words, parse, words};
use crate::error::Error;

/// Bytes of a piece.
const PIECE: usize = 1 << 22;

/// A safetensors file that is open.
pub(super) struct Shard {
    path: PathBuf,
    file: File,
    header: Metadata,
    /// The header's text, as it stands in the file.
    text: Vec<u8>,
    /// First byte of the data.
    start: u64,
}

impl Shard {
    /// Opens a file and checks its header against its length; reads no tensor.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let size = regular(path)?;
        let mut file = File::open(path).map_err(io_error(path))?;
        let refuse = |problem: String| tensor_error(&name_of(path), "header", problem);
        let cut = |at: u64| refuse(format!("cut off: the file ends at byte {size}, before byte {at}"));
        let mut length = [0; LENGTH];
        file.read_exact(&mut length).map_err(|_| cut(LENGTH as u64))?;
        if length == *b"version " {
            return Err(file_error(
                path,
                "is a pointer of Git LFS, not the file itself: git lfs pull fetches the file",
            ));
        }
        let length = u64::from_le_bytes(length);
        let start = length.saturating_add(LENGTH as u64);
        if start > size {
            return Err(cut(start));
        }
        if length > LONGEST {
            return Err(refuse(format!("has {length} bytes, the format allows {LONGEST}")));
        }
        let mut text = vec![0; length as usize];
        file.read_exact(&mut text).map_err(io_error(path))?;
        let header = parse(&text, size - start).map_err(|error| match error {
            Error::Bytes { key, problem } => tensor_error(&name_of(path), &key, problem),
            other => other.into(),
        })?;
        Ok(Shard { path: path.to_owned(), file, header, text, start })
    }

    /// The file's name without its folder.
    pub fn name(&self) -> String {
        name_of(&self.path)
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Length of the file in bytes.
    pub fn size(&self) -> u64 {
        self.start + self.header.data_len() as u64
    }

    /// The header's text.
    pub fn header(&self) -> &[u8] {
        &self.text
    }

    /// The file's own metadata.
    pub fn metadata(&self) -> Words {
        words(self.header.metadata())
    }

    /// Names of all tensors, sorted.
    pub fn tensors(&self) -> Vec<String> {
        let mut names = self.header.offset_keys();
        names.sort_unstable();
        names
    }

    /// Type, shape and place of a tensor.
    pub fn info(&self, tensor: &str) -> Option<&TensorInfo> {
        self.header.info(tensor)
    }

    /// Maps a tensor, which must be one of this file's, or one slice of its first axis.
    ///
    /// # Panics
    /// If there is no such slice.
    pub fn tensor(&self, tensor: &str, slice: Option<usize>) -> Result<MappedTensor, CheckpointError> {
        let info = self.expect(tensor)?;
        let (start, end) = info.data_offsets;
        let (start, len, shape) = match slice {
            None => (start, end - start, info.shape.clone()),
            Some(slice) => {
                assert!(slice < info.shape[0], "no slice {slice} in {tensor}");
                let len = (end - start) / info.shape[0];
                (start + slice * len, len, info.shape[1..].to_vec())
            }
        };
        let bytes = self.map(self.start + start as u64, len, info.dtype.bitsize() / 8)?;
        Ok(MappedTensor { dtype: info.dtype, shape, bytes })
    }

    /// Maps the whole file.
    pub fn whole(&self) -> Result<TensorBytes, CheckpointError> {
        self.map(0, self.size() as usize, 1)
    }

    /// Up to `len` bytes from the beginning of a tensor.
    pub fn first_bytes(&self, tensor: &str, len: usize) -> Result<Vec<u8>, CheckpointError> {
        let (start, end) = self.expect(tensor)?.data_offsets;
        Ok(self.map(self.start + start as u64, len.min(end - start), 1)?.as_slice().to_vec())
    }

    /// Hands a tensor's bytes to `each`, piece by piece, and gives their digest. A piece is mapped only meanwhile: what is
    /// mapped counts as this process's memory.
    pub fn read(
        &self,
        tensor: &str,
        mut each: impl FnMut(&[u8]) -> Result<(), CheckpointError>,
    ) -> Result<String, CheckpointError> {
        let (start, end) = self.expect(tensor)?.data_offsets;
        let mut sum = Sum::new();
        for start in (start..end).step_by(PIECE) {
            let piece = self.map(self.start + start as u64, PIECE.min(end - start), 1)?;
            sum.add(piece.as_slice());
            each(piece.as_slice())?;
        }
        Ok(sum.text())
    }

    fn expect(&self, tensor: &str) -> Result<&TensorInfo, CheckpointError> {
        self.info(tensor).ok_or_else(|| tensor_error(&self.name(), tensor, "no such tensor"))
    }

    /// Maps a range of the file, whose first byte is `start`.
    fn map(&self, start: u64, len: usize, align: usize) -> Result<TensorBytes, CheckpointError> {
        if len == 0 {
            return Ok(TensorBytes::Copied { words: Vec::new(), len });
        }
        let size = self.file.metadata().map_err(io_error(&self.path))?.len();
        if size < self.size() {
            return Err(file_error(&self.path, format!("was cut off to {size} bytes while in use")));
        }
        let map = map(&self.file, start, len).map_err(io_error(&self.path))?;
        if map.as_ptr().align_offset(align.max(1)) == 0 {
            return Ok(TensorBytes::Mapped(map));
        }
        let mut words = vec![0_u64; len.div_ceil(size_of::<u64>())];
        bytemuck::cast_slice_mut(&mut words)[..len].copy_from_slice(&map);
        Ok(TensorBytes::Copied { words, len })
    }
}

/// Maps part of a file, to be read.
#[allow(unsafe_code, reason = "a file that is mapped may be changed by others")]
fn map(file: &File, start: u64, len: usize) -> std::io::Result<Mmap> {
    // SAFETY: the range lies within the file. Bytes are read as plain numbers, any of which is valid; a file that another
    // program rewrites meanwhile gives other numbers, one that it shortens ends the process with SIGBUS, and the
    // documentation of `Job` asks for neither.
    unsafe { MmapOptions::new().offset(start).len(len).map(file) }
}

/// A tensor in memory, at an address that its type may be read from.
pub(super) struct MappedTensor {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    bytes: TensorBytes,
}

/// Bytes of a file, at an address that their type may be read from.
pub(super) enum TensorBytes {
    Mapped(Mmap),
    /// For files whose header leaves the data misaligned.
    Copied {
        words: Vec<u64>,
        len: usize,
    },
}

impl TensorBytes {
    pub fn as_slice(&self) -> &[u8] {
        match self {
            TensorBytes::Mapped(map) => map,
            TensorBytes::Copied { words, len } => &bytemuck::cast_slice(words)[..*len],
        }
    }
}

impl MappedTensor {
    /// The bytes, as they stand in the file.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// The numbers, which must be of the tensor's own type.
    pub fn values<T: Pod>(&self) -> &[T] {
        bytemuck::cast_slice(self.bytes.as_slice())
    }
}

/// Length of a file, which must be a regular one: to open a pipe is to wait for its other end.
pub(super) fn regular(path: &Path) -> Result<u64, CheckpointError> {
    let metadata = std::fs::metadata(path).map_err(io_error(path))?;
    if metadata.is_file() { Ok(metadata.len()) } else { Err(file_error(path, "is not a regular file")) }
}

/// A file's name without its folder.
pub(super) fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
