//! The headers of safetensors files: reading one that may lie, and writing one that is the same in every run.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde_json::{Value, json};

use crate::bytes::keys::check_unique;
use crate::error::Error;

/// Bytes that give the header's length, and to a multiple of which it is filled up.
pub(crate) const LENGTH: usize = size_of::<u64>();

/// Longest header that the format allows.
pub(crate) const LONGEST: u64 = 100_000_000;

/// The metadata of a file, in the order in which they are written.
pub(crate) type Words = BTreeMap<String, String>;

pub(crate) fn refuse(key: impl Into<String>, problem: impl Display) -> Error {
    Error::Bytes { key: key.into(), problem: problem.to_string() }
}

/// The header and the data of a file.
pub(crate) fn split(file: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let cut = |at| refuse("header", format!("cut off: the file ends at byte {}, before byte {at}", file.len()));
    let (length, rest) = file.split_first_chunk::<LENGTH>().ok_or_else(|| cut(LENGTH as u64))?;
    let length = u64::from_le_bytes(*length);
    usize::try_from(length)
        .ok()
        .and_then(|length| rest.split_at_checked(length))
        .ok_or_else(|| cut(length.saturating_add(LENGTH as u64)))
}

/// Reads a header that `data_len` bytes of data follow.
pub(crate) fn parse(header: &[u8], data_len: u64) -> Result<Metadata, Error> {
    check_unique(header).map_err(|error| refuse("header", error))?;
    // Not `SafeTensors::deserialize`, whose sum of offsets can overflow.
    let header: Metadata = serde_json::from_slice(header).map_err(|error| refuse("header", error))?;
    if header.data_len() as u64 != data_len {
        let problem = format!("tells of {} bytes of data, but there are {data_len}", header.data_len());
        return Err(refuse("header", problem));
    }
    Ok(header)
}

/// Where every tensor of a file stands: by falling size of its type, which keeps all aligned, then by name.
pub(crate) struct Layout {
    tensors: BTreeMap<String, TensorInfo>,
}

impl Layout {
    /// Lays out tensors given as (name, dtype, shape, bytes).
    pub fn new<'a>(tensors: impl Iterator<Item = (&'a str, Dtype, &'a [usize], usize)>) -> Self {
        let mut tensors: Vec<_> = tensors.collect();
        tensors.sort_by(|left, right| right.1.cmp(&left.1).then(left.0.cmp(right.0)));
        let mut end = 0;
        let tensors = tensors.into_iter().map(|(name, dtype, shape, bytes)| {
            let start = end;
            end += bytes;
            (name.to_owned(), TensorInfo { dtype, shape: shape.to_vec(), data_offsets: (start, end) })
        });
        Layout { tensors: tensors.collect() }
    }

    /// First byte of a tensor, counted from the first of the data.
    pub fn start(&self, name: &str) -> usize {
        self.tensors[name].data_offsets.0
    }

    /// Bytes of all tensors.
    pub fn data_len(&self) -> usize {
        self.tensors.values().map(|info| info.data_offsets.1).max().unwrap_or(0)
    }

    /// The file up to its data. All keys are sorted: the package writes metadata in the order of a hash map, another
    /// one in every run.
    pub fn header(&self, metadata: &Words) -> Result<Vec<u8>, Error> {
        let mut keys: BTreeMap<&str, Value> = BTreeMap::new();
        for (name, info) in &self.tensors {
            keys.insert(name, serde_json::to_value(info).map_err(|error| refuse("header", error))?);
        }
        if !metadata.is_empty() {
            keys.insert("__metadata__", json!(metadata));
        }
        let mut header = serde_json::to_vec(&keys).map_err(|error| refuse("header", error))?;
        // Spaces keep the data aligned to eight bytes, as the format asks.
        header.resize(header.len().next_multiple_of(LENGTH), b' ');
        let length = header.len() as u64;
        if length > LONGEST {
            return Err(refuse("header", format!("would have {length} bytes, the format allows {LONGEST}")));
        }
        Ok([&length.to_le_bytes(), header.as_slice()].concat())
    }
}

/// A part of what is written: the end of its key, type, shape and bytes.
pub(crate) type Part = (&'static str, Dtype, Vec<usize>, Vec<u8>);

/// Writes the parts of `name` with their metadata.
pub(crate) fn write(name: &str, parts: &[Part], metadata: BTreeMap<&str, String>) -> Result<Vec<u8>, Error> {
    let named: Vec<(String, &Part)> = parts.iter().map(|part| (format!("{name}.armor.{}", part.0), part)).collect();
    let layout = Layout::new(named.iter().map(|(key, part)| (key.as_str(), part.1, part.2.as_slice(), part.3.len())));
    let mut file = layout.header(&metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())?;
    let data = file.len();
    file.resize(data + layout.data_len(), 0);
    for (key, (_, _, _, bytes)) in &named {
        file[data + layout.start(key)..][..bytes.len()].copy_from_slice(bytes);
    }
    Ok(file)
}

/// The metadata of a file that was read, sorted.
pub(crate) fn words(metadata: &Option<HashMap<String, String>>) -> Words {
    metadata.iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
}
