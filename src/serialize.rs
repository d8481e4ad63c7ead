//! Factorisations as bytes: the safetensors layout, written and read.

use std::fmt::Display;
use std::str::FromStr;

use half::{bf16, f16};
use ndarray::ArrayView2;
use safetensors::Dtype;
use safetensors::tensor::Metadata;

use crate::block_diagonal::Partition;
use crate::factorization::Report;
use crate::factors::Factors;
use crate::formats::{FORMAT, Format};
use crate::header::{Words, parse, refuse, split, words};
use crate::{BlockDiagonal, Error, Factorization, Pattern, Precision, SparseCore, StopReason};

impl Factorization {
    /// Writes the factorisation of tensor `name` (without `.weight`) as a safetensors file.
    ///
    /// | key | type | shape | content |
    /// |---|---|---|---|
    /// | `{name}.armor.left` | F32 | [⌈m/p⌉, p, p] | blocks of A, a smaller last one padded with zeros |
    /// | `{name}.armor.right` | F32 | [⌈k/q⌉, q, q] | blocks of B, alike |
    /// | `{name}.armor.core.compressed` | F32 | [m, kN/M] | kept values by row, in ascending column order |
    /// | `{name}.armor.core.bitmask` | U8 | [m, ⌈k/8⌉] | kept columns: column j is bit j mod 8 of byte j / 8 |
    /// | `{name}.armor.core.shape` | I64 | `[2]` | m, k |
    /// | `{name}.armor.history` | F64 | [iterations + 1] | [`Factorization::history`] |
    ///
    /// The metadata hold `armor.format` (1), `armor.pattern`, `armor.left_block`, `armor.right_block`, `armor.loss`,
    /// `armor.nowag_p_loss`, `armor.ridge` (0 where it is absent) and `armor.stop_reason`. The time of the run is left out, so equal factorisations give
    /// equal bytes.
    ///
    /// # Errors
    /// [`Error::Bytes`] where the name makes the header longer than the format allows, 100 MB.
    pub fn to_safetensors(&self, name: &str) -> Result<Vec<u8>, Error> {
        self.export(name, Format::Factors, Precision::F32)
    }

    /// Reads the factorisation of tensor `name` from bytes that [`Factorization::to_safetensors`] wrote, or another
    /// program in the same layout. The result equals the one written but for [`Factorization::elapsed`], which is
    /// zero.
    ///
    /// Tensors of other names are ignored. Values may be f16 or bf16, as [`Factorization::export`] writes them; and where
    /// a file holds many layers, metadata keys have the name in front, `{name}.armor.loss`.
    ///
    /// # Errors
    /// [`Error::Bytes`] with the key at fault: a header that is cut off or lies about the data, a missing tensor, a
    /// wrong type or shape, a mask that is not N:M, padding that is not zero, a value that is not finite.
    pub fn from_safetensors(bytes: &[u8], name: &str) -> Result<Self, Error> {
        Self::with_words(bytes, name).map(|(result, _)| result)
    }

    /// The same, with all metadata of the file.
    pub(crate) fn with_words(bytes: &[u8], name: &str) -> Result<(Self, Words), Error> {
        let file = File::new(bytes, name)?;
        file.check_format()?;
        let (rows, cols) = file.core_shape()?;
        let left = file.wrapper("left", "armor.left_block", rows)?;
        let right = file.wrapper("right", "armor.right_block", cols)?;
        let core = file.core(rows, right.partition())?;
        let losses = (file.loss("armor.loss")?, file.loss("armor.nowag_p_loss")?);
        let report = Report { ridge: file.ridge()?, history: file.history()?, stop_reason: file.stop_reason()? };
        let words = words(file.header.metadata());
        Ok((Factorization::restore(Factors { left, core, right }, losses, report), words))
    }
}

/// A safetensors file in memory, with the name that its keys start with.
pub(crate) struct File<'a> {
    name: &'a str,
    header: Metadata,
    data: &'a [u8],
}

impl<'a> File<'a> {
    pub(crate) fn new(bytes: &'a [u8], name: &'a str) -> Result<Self, Error> {
        let (header, data) = split(bytes)?;
        Ok(File { name, header: parse(header, data.len() as u64)?, data })
    }

    /// Refuses another layout than this.
    pub(crate) fn check_format(&self) -> Result<(), Error> {
        let format: String = self.value("armor.format")?;
        if format == FORMAT { Ok(()) } else { Err(refuse("armor.format", format!("is {format}, expected {FORMAT}"))) }
    }

    pub(crate) fn key(&self, part: &str) -> String {
        format!("{}.armor.{part}", self.name)
    }

    /// A tensor's bytes, if it has this type and shape; `None` stands for an axis of any length.
    pub(crate) fn tensor<const N: usize>(
        &self,
        part: &str,
        dtype: Dtype,
        shape: [Option<usize>; N],
    ) -> Result<&'a [u8], Error> {
        self.tensor_of(part, &[dtype], shape).map(|(_, bytes)| bytes)
    }

    /// The same where several types will do; says which it is.
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

    /// A tensor of finite f32, f16 or bf16 numbers.
    fn floats<const N: usize>(&self, part: &str, shape: [usize; N]) -> Result<Vec<f32>, Error> {
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

    /// A metadata text; in a file of many layers its key has the tensor's name in front.
    fn word(&self, key: &str) -> Option<&String> {
        let metadata = self.header.metadata().as_ref()?;
        metadata.get(&format!("{}.{key}", self.name)).or_else(|| metadata.get(key))
    }

    /// A metadata value.
    pub(crate) fn value<T: FromStr<Err: Display>>(&self, key: &str) -> Result<T, Error> {
        let text = self.word(key).ok_or_else(|| refuse(key, "no such metadata"))?;
        text.parse().map_err(|error| refuse(key, format!("\"{text}\": {error}")))
    }

    fn loss(&self, key: &str) -> Result<f64, Error> {
        let loss: f64 = self.value(key)?;
        if loss.is_finite() && loss >= 0.0 {
            Ok(loss)
        } else {
            Err(refuse(key, format!("is {loss}, expected a finite number, not negative")))
        }
    }

    fn ridge(&self) -> Result<f64, Error> {
        if self.word("armor.ridge").is_some() { self.loss("armor.ridge") } else { Ok(0.0) }
    }

    fn stop_reason(&self) -> Result<StopReason, Error> {
        let word: String = self.value("armor.stop_reason")?;
        [StopReason::Iterations, StopReason::Converged, StopReason::TimeBudget, StopReason::Cancelled]
            .into_iter()
            .find(|reason| reason.as_str() == word)
            .ok_or_else(|| refuse("armor.stop_reason", format!("\"{word}\" is not a reason to stop")))
    }

    fn history(&self) -> Result<Vec<f64>, Error> {
        let bytes = self.tensor("history", Dtype::F64, [None])?;
        let history: Vec<f64> = bytes.as_chunks().0.iter().map(|&chunk| f64::from_le_bytes(chunk)).collect();
        if history.is_empty() {
            return Err(refuse(self.key("history"), "is empty, expected the initial loss at least"));
        }
        match history.iter().position(|loss| !(loss.is_finite() && *loss >= 0.0)) {
            Some(index) => {
                let problem = format!("entry {index} is {}, expected a finite number, not negative", history[index]);
                Err(refuse(self.key("history"), problem))
            }
            None => Ok(history),
        }
    }

    /// Rows and columns of the core, (m, k), neither zero.
    fn core_shape(&self) -> Result<(usize, usize), Error> {
        let bytes = self.tensor("core.shape", Dtype::I64, [Some(2)])?;
        let shape: Vec<i64> = bytes.as_chunks().0.iter().map(|&chunk| i64::from_le_bytes(chunk)).collect();
        let size = |axis: i64| usize::try_from(axis).ok().filter(|&size| size > 0);
        size(shape[0])
            .zip(size(shape[1]))
            .filter(|(rows, cols)| rows.checked_mul(*cols).is_some())
            .ok_or_else(|| refuse(self.key("core.shape"), format!("is {shape:?}, expected two sizes above zero")))
    }

    /// A wrapper of `len` rows, whose block size the metadata give.
    fn wrapper(&self, part: &str, block: &str, len: usize) -> Result<BlockDiagonal, Error> {
        let size: usize = self.value(block)?;
        if !(1..=len).contains(&size) {
            return Err(refuse(block, format!("is {size}, expected 1 to {len}")));
        }
        let values = self.floats(part, [len.div_ceil(size), size, size])?;
        let mut wrapper = BlockDiagonal::identity(len, size);
        for (index, values) in values.chunks_exact(size * size).enumerate() {
            let mut block = wrapper.block_mut(index);
            let used = block.nrows();
            for (position, &value) in values.iter().enumerate() {
                let (i, j) = (position / size, position % size);
                if i < used && j < used {
                    block[[i, j]] = value;
                } else if value != 0.0 {
                    let problem = format!("block {index} has {value} at [{i}, {j}], in its padding; expected 0");
                    return Err(refuse(self.key(part), problem));
                }
            }
        }
        Ok(wrapper)
    }

    fn core(&self, rows: usize, cols: Partition) -> Result<SparseCore, Error> {
        let pattern: Pattern = self.value("armor.pattern")?;
        let (n, m) = (pattern.n(), pattern.m());
        if !cols.len.is_multiple_of(m) {
            let problem = format!("{} columns are not a multiple of {m}, the group of {pattern}", cols.len);
            return Err(refuse(self.key("core.shape"), problem));
        }
        if !cols.block.is_multiple_of(m) {
            let problem = format!("is {}, expected a multiple of {m}, the group of {pattern}", cols.block);
            return Err(refuse("armor.right_block", problem));
        }
        let width = cols.len.div_ceil(8);
        let bits = self.tensor("core.bitmask", Dtype::U8, [Some(rows), Some(width)])?;
        let bits = ArrayView2::from_shape((rows, width), bits).expect("the shape was checked");
        let values = self.floats("core.compressed", [rows, pattern.kept(cols.len)])?;
        let mut core = SparseCore::zeros(rows, cols, pattern);
        let mut values = values.chunks_exact(n);
        for row in 0..rows {
            let kept = |column: usize| bits[[row, column / 8]] >> (column % 8) & 1;
            if let Some(column) = (cols.len..8 * width).find(|&column| kept(column) == 1) {
                let problem = format!("keeps column {column} of row {row}, expected columns below {}", cols.len);
                return Err(refuse(self.key("core.bitmask"), problem));
            }
            for (group, values) in (0..cols.len / m).zip(&mut values) {
                let mask = (0..m).fold(0, |mask, j| mask | kept(group * m + j) << j);
                core.set_group(row, group, mask, values).map_err(|error| refuse(self.key("core.bitmask"), error))?;
            }
        }
        Ok(core)
    }
}

/// The 16-bit numbers in these bytes.
fn pairs(bytes: &[u8]) -> impl Iterator<Item = u16> {
    bytes.as_chunks().0.iter().map(|&chunk| u16::from_le_bytes(chunk))
}
