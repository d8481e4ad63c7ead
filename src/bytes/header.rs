//! Headers of safetensors files: reading with checks, and writing that gives the same bytes in every run.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde_json::{Value, json};

use crate::bytes::keys::check_unique;
use crate::error::Error;

/// Bytes of the field that gives the header's length. The header is padded to a multiple of this number.
pub(crate) const LENGTH: usize = size_of::<u64>();

/// Largest length of a header that the format allows, in bytes.
pub(crate) const LONGEST: u64 = 100_000_000;

/// The metadata of a file, sorted by key as they are written.
pub(crate) type Words = BTreeMap<String, String>;

/// Makes the error that says what is wrong with a key of the file.
pub(crate) fn refuse(key: impl Into<String>, problem: impl Display) -> Error {
    Error::Bytes { key: key.into(), problem: problem.to_string() }
}

/// Splits a file into its header and its data.
///
/// # Errors
/// [`Error::Bytes`] where the file ends before its header does.
pub(crate) fn split(file: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let cut = |at| refuse("header", format!("cut off: the file ends at byte {}, before byte {at}", file.len()));
    let (length, rest) = file.split_first_chunk::<LENGTH>().ok_or_else(|| cut(LENGTH as u64))?;
    let length = u64::from_le_bytes(*length);
    usize::try_from(length)
        .ok()
        .and_then(|length| rest.split_at_checked(length))
        .ok_or_else(|| cut(length.saturating_add(LENGTH as u64)))
}

/// Reads a header that is followed by `data_len` bytes of data.
///
/// # Errors
/// [`Error::Bytes`] for a header that is not valid JSON, has a key twice or does not describe exactly the data.
pub(crate) fn parse(header: &[u8], data_len: u64) -> Result<Metadata, Error> {
    check_unique(header).map_err(|error| refuse("header", error))?;
    // `SafeTensors::deserialize` is not used, because its sum of offsets can overflow.
    let header: Metadata = serde_json::from_slice(header).map_err(|error| refuse("header", error))?;
    if header.data_len() as u64 != data_len {
        let problem = format!("describes {} bytes of data, but the file has {data_len}", header.data_len());
        return Err(refuse("header", problem));
    }
    Ok(header)
}

/// The position of every tensor in a file. Tensors are sorted by falling size of their number type, which keeps all of
/// them aligned, then by name.
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

    /// First byte of a tensor, counted from the first byte of the data.
    pub fn start(&self, name: &str) -> usize {
        self.tensors[name].data_offsets.0
    }

    /// Bytes of all tensors.
    pub fn data_len(&self) -> usize {
        self.tensors.values().map(|info| info.data_offsets.1).max().unwrap_or(0)
    }

    /// Writes the file up to its data. All keys are sorted, because the `safetensors` crate writes metadata in the order
    /// of a hash map, which differs between runs.
    ///
    /// # Errors
    /// [`Error::Bytes`] where the header would be longer than the format allows.
    pub fn header(&self, metadata: &Words) -> Result<Vec<u8>, Error> {
        let mut keys: BTreeMap<&str, Value> = BTreeMap::new();
        for (name, info) in &self.tensors {
            keys.insert(name, serde_json::to_value(info).map_err(|error| refuse("header", error))?);
        }
        if !metadata.is_empty() {
            keys.insert("__metadata__", json!(metadata));
        }
        let mut header = serde_json::to_vec(&keys).map_err(|error| refuse("header", error))?;
        // The format requires that spaces align the data to eight bytes.
        header.resize(header.len().next_multiple_of(LENGTH), b' ');
        let length = header.len() as u64;
        if length > LONGEST {
            return Err(refuse("header", format!("would have {length} bytes, but the format allows {LONGEST}")));
        }
        Ok([&length.to_le_bytes(), header.as_slice()].concat())
    }
}

/// Writes a file that holds one vector, given as its bytes.
///
/// # Errors
/// As [`Layout::header`].
pub(crate) fn write_vector(key: &str, dtype: Dtype, bytes: &[u8], metadata: &Words) -> Result<Vec<u8>, Error> {
    let shape = [bytes.len() * 8 / dtype.bitsize()];
    let mut file = Layout::new([(key, dtype, shape.as_slice(), bytes.len())].into_iter()).header(metadata)?;
    file.extend_from_slice(bytes);
    Ok(file)
}

/// Sorts the metadata of a file that was read.
pub(crate) fn words(metadata: &Option<HashMap<String, String>>) -> Words {
    metadata.iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
}
