//! One shard of the output. Every layer is read, rounded and measured once: its bytes wait in a temporary file, because
//! the shard's header, which has the losses of all layers, comes first.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use safetensors::Dtype;
use tempfile::NamedTempFile;

use super::context::JobContext;
use super::digest::Sum;
use super::error::{CheckpointError, io_error};
use super::input_digests::InputKind;
use super::output_files::output_name;
use super::report::{FileReport, LayerReport};
use super::selected_tensor::SelectedTensor;
use super::shard::Shard;
use crate::bytes::header::{Layout, Words};
use crate::bytes::reader::{WRITER, WRITER_KEY};
use crate::result::formats::format::Format;

/// Bytes that are copied at a time from the temporary file.
const PIECE: usize = 1 << 20;

/// A shard that is being written.
pub(super) struct OutputShard<'a> {
    job: &'a JobContext,
    input: &'a Shard,
    name: String,
    /// The final path, which errors name.
    path: PathBuf,
    words: Words,
    tensors: Vec<OutputTensor>,
    /// The bytes of the layers' tensors, in the order in which they were stored.
    waiting: NamedTempFile,
    waiting_len: u64,
}

/// A tensor of the output.
struct OutputTensor {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: usize,
    origin: Origin,
}

/// Where the bytes of a tensor come from.
#[derive(Clone, Copy)]
enum Origin {
    /// The tensor of the same name in the input.
    Input,
    /// The temporary file, from this byte.
    Waiting(u64),
}

impl<'a> OutputShard<'a> {
    /// Begins the output of the shard `input`, without a tensor.
    pub fn new(job: &'a JobContext, input: &'a Shard) -> Result<Self, CheckpointError> {
        let name = output_name(&input.name(), job.settings.format).into_owned();
        let path = job.settings.out.join(&name);
        let (mut words, waiting) = (input.metadata(), job.folder.temporary()?);
        words.insert(WRITER_KEY.to_owned(), WRITER.to_owned());
        Ok(OutputShard { job, input, name, path, words, tensors: Vec::new(), waiting, waiting_len: 0 })
    }

    /// Adds a tensor of the input as it is, and returns its length in bytes.
    pub fn copy(&mut self, name: String) -> usize {
        let info = self.input.info(&name).expect("the name comes from the shard");
        let bytes = info.data_offsets.1 - info.data_offsets.0;
        let (dtype, shape) = (info.dtype, info.shape.clone());
        self.tensors.push(OutputTensor { name, dtype, shape, bytes, origin: Origin::Input });
        bytes
    }

    /// Adds the tensors and metadata of a layer, and reports what is stored of it.
    pub fn store(&mut self, index: usize) -> Result<LayerReport, CheckpointError> {
        let (job, layer) = (self.job, &self.job.selection.layers[index]);
        let part = job.part(index)?;
        let stored = job.stored(index, part.result)?;
        let loss = job.with_layer(index, |loaded| {
            let digests = loaded.digests();
            job.check_made_from(index, &part.inputs, &digests)?;
            job.check_inputs(index, &digests)?;
            match &part.measured {
                Some(measured) => Ok(measured.loss),
                None => job.in_pool(index, || stored.loss(&loaded.layer, &layer.options)),
            }
        })?;
        let history = format!("{}.armor.history", layer.stem());
        let mut after = 0;
        for tensor in stored.tensors(layer)? {
            let (name, dtype, shape) = (tensor.name.clone(), tensor.dtype, tensor.shape.clone());
            let bytes = job.in_pool(index, || tensor.into_bytes())?;
            after += if name == history { 0 } else { bytes.len() };
            let origin = self.wait(&bytes)?;
            self.add(layer, OutputTensor { name, dtype, shape, bytes: bytes.len(), origin });
        }
        self.words.extend(stored.words(layer, loss));
        Ok(LayerReport::new((job, layer, &self.name), (&stored.factors, loss, after), part.measured))
    }

    /// Adds a tensor of a layer. The products of the slices of one tensor, which are stored one after the other, become
    /// one tensor again.
    fn add(&mut self, layer: &SelectedTensor, mut tensor: OutputTensor) {
        if layer.slice.is_none() || self.job.settings.format != Format::Reconstructed {
            return self.tensors.push(tensor);
        }
        match self.tensors.last_mut().filter(|last| last.name == tensor.name) {
            Some(whole) => {
                whole.shape[0] += 1;
                whole.bytes += tensor.bytes;
            }
            None => {
                tensor.shape.insert(0, 1);
                self.tensors.push(tensor);
            }
        }
    }

    fn wait(&mut self, bytes: &[u8]) -> Result<Origin, CheckpointError> {
        let origin = Origin::Waiting(self.waiting_len);
        self.waiting.as_file_mut().write_all(bytes).map_err(io_error(&self.path))?;
        self.waiting_len += bytes.len() as u64;
        Ok(origin)
    }

    /// The names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.iter().map(|tensor| tensor.name.as_str())
    }

    /// Bytes of all tensors.
    pub fn data_len(&self) -> usize {
        self.tensors.iter().map(|tensor| tensor.bytes).sum()
    }

    /// Writes the file, from its first byte to its last, and gives it its name.
    pub fn write(mut self) -> Result<FileReport, CheckpointError> {
        let layout = Layout::new(self.tensors.iter().map(|t| (t.name.as_str(), t.dtype, t.shape.as_slice(), t.bytes)));
        let header = layout.header(&self.words)?;
        self.tensors.sort_by_key(|tensor| layout.start(&tensor.name));
        let mut file = DigestedFile { file: self.job.folder.temporary()?, sum: Sum::new(), bytes: 0 };
        file.write_all(&header).map_err(io_error(&self.path))?;
        for tensor in &self.tensors {
            match tensor.origin {
                Origin::Input => self.write_copy(&tensor.name, &mut file)?,
                Origin::Waiting(start) => {
                    copy_range(self.waiting.as_file(), start, tensor.bytes, &mut file).map_err(io_error(&self.path))?;
                }
            }
        }
        self.job.folder.publish(file.file, &self.name)?;
        Ok(FileReport { file: self.name, bytes: file.bytes, sha256: file.sum.text() })
    }

    /// Copies a tensor of the input, and refuses it if it has changed since the job began.
    fn write_copy(&self, name: &str, file: &mut DigestedFile) -> Result<(), CheckpointError> {
        let digest = self.input.read(name, |piece| file.write_all(piece).map_err(io_error(&self.path)))?;
        let recorded = self.job.recorded()?.and_then(|recorded| recorded.get(InputKind::Checkpoint, name));
        self.job.check_unchanged((InputKind::Checkpoint, name), recorded, &digest)
    }
}

/// A file whose digest is computed while it is written.
struct DigestedFile {
    file: NamedTempFile,
    sum: Sum,
    bytes: u64,
}

impl DigestedFile {
    fn write_all(&mut self, piece: &[u8]) -> io::Result<()> {
        self.sum.add(piece);
        self.bytes += piece.len() as u64;
        self.file.as_file_mut().write_all(piece)
    }
}

fn copy_range(mut from: &File, start: u64, len: usize, to: &mut DigestedFile) -> io::Result<()> {
    let mut piece = vec![0; PIECE.min(len)];
    from.seek(SeekFrom::Start(start))?;
    let mut left = len;
    while left > 0 {
        let piece = &mut piece[..PIECE.min(left)];
        from.read_exact(piece)?;
        to.write_all(piece)?;
        left -= piece.len();
    }
    Ok(())
}
