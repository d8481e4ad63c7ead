//! Reading of one named object from a safetensors file in memory: its tensors and metadata, with checks.

use std::fmt::Display;
use std::str::FromStr;

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::Metadata;

use crate::bytes::header::{Words, parse, refuse, split, words};
use crate::error::Error;

/// The value of `armor.format`. A layout that older readers cannot read gets another number.
pub(crate) const FORMAT: &str = "2";

/// The metadata key that names the library version which wrote a file. Format 1 did not have it.
pub(crate) const WRITER_KEY: &str = "armor.writer";

/// The value of `armor.writer`.
pub(crate) const WRITER: &str = concat!("armor-core ", env!("CARGO_PKG_VERSION"));

/// Returns the metadata that every file has: its format, and which version wrote it.
pub(crate) fn origin() -> [(String, String); 2] {
    [("armor.format".to_owned(), FORMAT.to_owned()), (WRITER_KEY.to_owned(), WRITER.to_owned())]
}

/// Says in an error that a file has another format than the one that this version reads.
pub(crate) fn other_format(found: &str, writer: Option<&str>, read: &str) -> String {
    let writer = writer.unwrap_or(match found {
        "1" => "armor-core before format 2",
        _ => "an unknown version",
    });
    format!("is {found:?}, written by {writer}; this version, {WRITER}, reads format {read} only")
}

/// A safetensors file in memory, with the name that its keys start with.
pub(crate) struct Reader<'a> {
    name: &'a str,
    header: Metadata,
    data: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads the header of a file.
    ///
    /// # Errors
    /// [`Error::Bytes`] where the header is cut off or wrong.
    pub(crate) fn new(bytes: &'a [u8], name: &'a str) -> Result<Self, Error> {
        let (header, data) = split(bytes)?;
        Ok(Reader { name, header: parse(header, data.len() as u64)?, data })
    }

    /// Checks that the file has the layout [`FORMAT`].
    ///
    /// # Errors
    /// [`Error::Bytes`] where it has another one, with the version that wrote the file, or does not name its layout.
    pub(crate) fn check_format(&self) -> Result<(), Error> {
        let format: String = self.value("armor.format")?;
        if format == FORMAT {
            return Ok(());
        }
        let writer = self.word(WRITER_KEY).map(String::as_str);
        Err(refuse("armor.format", other_format(&format, writer, FORMAT)))
    }

    /// Returns the metadata of the whole file, sorted by key.
    pub(crate) fn words(&self) -> Words {
        words(self.header.metadata())
    }

    /// Returns the name of the object.
    pub(crate) fn name(&self) -> &str {
        self.name
    }

    /// Tells whether the file has a tensor of this name.
    pub(crate) fn has(&self, tensor: &str) -> bool {
        self.header.info(tensor).is_some()
    }

    /// Returns the full key of a part of the object, `{name}.armor.{part}`.
    pub(crate) fn key(&self, part: &str) -> String {
        format!("{}.armor.{part}", self.name)
    }

    /// Returns the bytes of a tensor of this type and shape; `None` stands for an axis of any length.
    ///
    /// # Errors
    /// [`Error::Bytes`] where the tensor is absent or has another type or shape.
    pub(crate) fn tensor<const N: usize>(
        &self,
        part: &str,
        dtype: Dtype,
        shape: [Option<usize>; N],
    ) -> Result<&'a [u8], Error> {
        self.tensor_of(part, &[dtype], shape).map(|(_, bytes)| bytes)
    }

    /// Does the same as [`Reader::tensor`] where several types are allowed, and returns the type too.
    fn tensor_of<const N: usize>(
        &self,
        part: &str,
        dtypes: &[Dtype],
        shape: [Option<usize>; N],
    ) -> Result<(Dtype, &'a [u8]), Error> {
        let key = self.key(part);
        let info = self.header.info(&key).ok_or_else(|| refuse(&key, "no such tensor"))?;
        if !dtypes.contains(&info.dtype) {
            let dtypes = dtypes.iter().map(|dtype| format!("{dtype:?}")).collect::<Vec<_>>().join(" or ");
            return Err(refuse(key, format!("is {:?}, expected {dtypes}", info.dtype)));
        }
        let fits = |(&found, expected): (&usize, Option<usize>)| expected.is_none_or(|expected| found == expected);
        if info.shape.len() != N || !info.shape.iter().zip(shape).all(fits) {
            let shape = shape.map(|axis| axis.map_or("any".to_owned(), |axis| axis.to_string())).join(", ");
            return Err(refuse(key, format!("has shape {:?}, expected [{shape}]", info.shape)));
        }
        let (start, end) = info.data_offsets;
        let bytes = self.data.get(start..end).ok_or_else(|| refuse(key, "lies outside the data"))?;
        Ok((info.dtype, bytes))
    }

    /// Returns a tensor of f32, f16 or bf16 numbers, converted to f32.
    ///
    /// # Errors
    /// As [`Reader::tensor`], and for the first number that is NaN or infinite.
    pub(crate) fn floats<const N: usize>(&self, part: &str, shape: [usize; N]) -> Result<Vec<f32>, Error> {
        let values: Vec<f32> = match self.tensor_of(part, &[Dtype::F32, Dtype::F16, Dtype::BF16], shape.map(Some))? {
            (Dtype::F16, bytes) => pairs(bytes).map(|bits| f16::from_bits(bits).to_f32()).collect(),
            (Dtype::BF16, bytes) => pairs(bytes).map(|bits| bf16::from_bits(bits).to_f32()).collect(),
            (_, bytes) => bytes.as_chunks().0.iter().map(|&chunk| f32::from_le_bytes(chunk)).collect(),
        };
        match values.iter().position(|x| !x.is_finite()) {
            Some(index) => {
                let problem = format!("value {index} is {}, expected a finite number", values[index]);
                Err(refuse(self.key(part), problem))
            }
            None => Ok(values),
        }
    }

    /// Returns a metadata text. In a file of many layers its key starts with the name of the object.
    pub(crate) fn word(&self, key: &str) -> Option<&String> {
        let metadata = self.header.metadata().as_ref()?;
        metadata.get(&format!("{}.{key}", self.name)).or_else(|| metadata.get(key))
    }

    /// Parses a metadata text.
    ///
    /// # Errors
    /// [`Error::Bytes`] where the text is absent or cannot be parsed.
    pub(crate) fn value<T: FromStr<Err: Display>>(&self, key: &str) -> Result<T, Error> {
        let text = self.word(key).ok_or_else(|| refuse(key, "no such metadata"))?;
        text.parse().map_err(|error| refuse(key, format!("\"{text}\": {error}")))
    }
}

/// Splits bytes into 16-bit little-endian numbers.
fn pairs(bytes: &[u8]) -> impl Iterator<Item = u16> {
    bytes.as_chunks().0.iter().map(|&chunk| u16::from_le_bytes(chunk))
}
