//! Writing and reading of factorisations in the safetensors layout.

use std::time::Duration;

use ndarray::ArrayView2;
use safetensors::Dtype;

use crate::bytes::header::{Words, refuse};
use crate::bytes::reader::Reader;
use crate::error::Error;
use crate::factors::block_diagonal::BlockDiagonal;
use crate::factors::partition::Partition;
use crate::factors::pattern::Pattern;
use crate::factors::precision::Precision;
use crate::factors::sparse_core::SparseCore;
use crate::factors::triple::Factors;
use crate::result::factorization::Factorization;
use crate::result::formats::format::Format;
use crate::result::record::{RunRecord, StopReason};

impl Factorization {
    /// Writes the factorisation of tensor `name` (without `.weight`) as a safetensors file.
    ///
    /// | key | type | shape | content |
    /// |---|---|---|---|
    /// | `{name}.armor.left` | F32 | [⌈m/p⌉, p, p] | blocks of A, a smaller last one padded with zeros |
    /// | `{name}.armor.right` | F32 | [⌈k/q⌉, q, q] | blocks of B, padded in the same way |
    /// | `{name}.armor.core.compressed` | F32 | [m, kN/M] | kept values by row, in ascending column order |
    /// | `{name}.armor.core.bitmask` | U8 | [m, ⌈k/8⌉] | kept columns: column j is bit j mod 8 of byte j / 8 |
    /// | `{name}.armor.core.shape` | I64 | `[2]` | m, k |
    /// | `{name}.armor.history` | F64 | [iterations + 1] | [`Factorization::history`] |
    ///
    /// The metadata hold `armor.format` (2), `armor.writer` (the library and its version), `armor.pattern`,
    /// `armor.left_block`, `armor.right_block`, `armor.loss`, `armor.nowag_p_loss`, `armor.ridge` and `armor.dead_inputs`
    /// (0 where they are absent) and `armor.stop_reason`. The time of the run is left out, so equal factorisations give equal bytes.
    ///
    /// # Errors
    /// [`Error::Bytes`] where the name makes the header longer than the format allows, 100 MB.
    pub fn to_safetensors(&self, name: &str) -> Result<Vec<u8>, Error> {
        self.export(name, Format::Factors, Precision::F32)
    }

    /// Reads the factorisation of tensor `name` from bytes that [`Factorization::to_safetensors`] wrote, or that another
    /// program wrote in the same layout. The result equals the one written, except that [`Factorization::elapsed`] is
    /// zero.
    ///
    /// Tensors of other names are ignored. Values may be f16 or bf16, as [`Factorization::export`] writes them. In a
    /// file of many layers, metadata keys start with the name: `{name}.armor.loss`.
    ///
    /// # Errors
    /// [`Error::Bytes`] with the key that is wrong: a header that is cut off or does not describe the data, a missing
    /// tensor, a wrong type or shape, a mask that is not N:M, padding that is not zero, a value that is not finite.
    pub fn from_safetensors(bytes: &[u8], name: &str) -> Result<Self, Error> {
        Self::with_words(bytes, name).map(|(result, _)| result)
    }

    /// Does the same as [`Factorization::from_safetensors`], and returns all metadata of the file too.
    pub(crate) fn with_words(bytes: &[u8], name: &str) -> Result<(Self, Words), Error> {
        let file = Reader::new(bytes, name)?;
        file.check_is_factors()?;
        file.check_format()?;
        let (rows, cols) = file.core_shape()?;
        let left = file.wrapper("left", "armor.left_block", rows)?;
        let right = file.wrapper("right", "armor.right_block", cols)?;
        let core = file.core(rows, right.partition())?;
        let losses = (file.loss("armor.loss")?, file.loss("armor.nowag_p_loss")?);
        let record = RunRecord {
            ridge: file.ridge()?,
            dead_inputs: file.dead_inputs(cols)?,
            history: file.history()?,
            stop_reason: file.stop_reason()?,
        };
        let words = file.words();
        Ok((Factorization::new(Factors { left, core, right }, losses, record, Duration::ZERO), words))
    }
}

impl Reader<'_> {
    /// Checks that the weight is not stored in another format, of which it names the one found.
    fn check_is_factors(&self) -> Result<(), Error> {
        let (name, core) = (self.name(), self.key("core"));
        let marks = [
            (format!("{core}.dense"), Format::DenseCore),
            (format!("{name}.compressed"), Format::SparseBitmask),
            (format!("{core}.packed"), Format::Cutlass),
            (format!("{name}.weight"), Format::Reconstructed),
        ];
        if self.has(&format!("{core}.compressed")) {
            return Ok(());
        }
        match marks.into_iter().find(|(key, _)| self.has(key)) {
            Some((key, format)) => {
                let problem = match format {
                    Format::Reconstructed => "is a dense weight, without factors".to_owned(),
                    _ => format!("is a tensor of the format {format}"),
                };
                Err(refuse(key, format!("{problem}; only the format {} can be read", Format::Factors)))
            }
            None => Ok(()),
        }
    }

    /// Reads a loss: a finite number, not negative.
    fn loss(&self, key: &str) -> Result<f64, Error> {
        let loss: f64 = self.value(key)?;
        if loss.is_finite() && loss >= 0.0 {
            Ok(loss)
        } else {
            Err(refuse(key, format!("is {loss}, expected a finite number, not negative")))
        }
    }

    /// Reads the ridge; a file without one has the ridge 0.
    fn ridge(&self) -> Result<f64, Error> {
        if self.word("armor.ridge").is_some() { self.loss("armor.ridge") } else { Ok(0.0) }
    }

    /// Reads the number of dead inputs among so many; a file without it has none.
    fn dead_inputs(&self, inputs: usize) -> Result<usize, Error> {
        let key = "armor.dead_inputs";
        let dead = if self.word(key).is_some() { self.value(key)? } else { 0 };
        if dead <= inputs { Ok(dead) } else { Err(refuse(key, format!("is {dead}, expected 0 to {inputs}"))) }
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

    /// Reads the numbers of rows and columns of the core, (m, k), both above zero.
    fn core_shape(&self) -> Result<(usize, usize), Error> {
        let bytes = self.tensor("core.shape", Dtype::I64, [Some(2)])?;
        let shape: Vec<i64> = bytes.as_chunks().0.iter().map(|&chunk| i64::from_le_bytes(chunk)).collect();
        let size = |axis: i64| usize::try_from(axis).ok().filter(|&size| size > 0);
        size(shape[0])
            .zip(size(shape[1]))
            .filter(|(rows, cols)| rows.checked_mul(*cols).is_some())
            .ok_or_else(|| refuse(self.key("core.shape"), format!("is {shape:?}, expected two sizes above zero")))
    }

    /// Reads a wrapper of `len` rows; `block` is the metadata key of its block size.
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
