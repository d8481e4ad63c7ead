//! Writing and reading of accumulators in the safetensors layout.

use safetensors::Dtype;

use crate::bytes::header::{refuse, write_vector};
use crate::bytes::reader::{Reader, origin};
use crate::error::Error;
use crate::input::accumulator::{HessianAccumulator, Sums};
use crate::input::hessian::HessianKind;
use crate::input::stored_sums::StoredSums;

/// The end of the key of the sums.
const PART: &str = "hessian.sums";

/// The values of `armor.hessian`, for the diagonal and for the whole matrix.
const KINDS: [&str; 2] = ["diagonal", "full"];

impl HessianAccumulator {
    /// Writes the accumulator for the inputs of tensor `name` (without `.weight`) as a safetensors file.
    ///
    /// | key | type | shape | content |
    /// |---|---|---|---|
    /// | `{name}.armor.hessian.sums` | F64 | \[k\], or [k(k + 1)/2] | Σ x², or the lower triangle of Σ x xᵀ row by row |
    ///
    /// The metadata hold `armor.format` (2), `armor.writer` (the library and its version), `armor.hessian` (`diagonal` or
    /// `full`), `armor.inputs` (k) and `armor.tokens` (N). Equal accumulators give equal bytes.
    ///
    /// # Errors
    /// [`Error::Bytes`] where the name makes the header longer than the format allows, 100 MB.
    pub fn to_safetensors(&self, name: &str) -> Result<Vec<u8>, Error> {
        let bytes: Vec<u8> = match &self.sums {
            Sums::Diagonal(sums) => sums.iter().flat_map(|sum| sum.to_le_bytes()).collect(),
            Sums::Full(sums) => sums.positions().flat_map(|(i, j)| sums.entry(i, j).to_le_bytes()).collect(),
        };
        let metadata = [
            ("armor.hessian", KINDS[usize::from(self.kind() == HessianKind::Full)].to_owned()),
            ("armor.inputs", self.inputs().to_string()),
            ("armor.tokens", self.tokens.to_string()),
        ];
        let metadata = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).chain(origin()).collect();
        write_vector(&format!("{name}.armor.{PART}"), Dtype::F64, &bytes, &metadata)
    }

    /// Reads the accumulator for the inputs of tensor `name` from bytes that [`HessianAccumulator::to_safetensors`]
    /// wrote, or that another program wrote in the same layout. The result equals the one written; more tokens may follow.
    ///
    /// Tensors of other names are ignored.
    ///
    /// # Errors
    /// [`Error::Bytes`] with the key that is wrong: a header that is cut off or does not describe the data, a missing
    /// tensor, a wrong type or shape, more than 2⁵³ tokens, sums that no activations have.
    pub fn from_safetensors(bytes: &[u8], name: &str) -> Result<Self, Error> {
        let file = Reader::new(bytes, name)?;
        file.check_format()?;
        let kind: String = file.value("armor.hessian")?;
        let inputs: usize = file.value("armor.inputs")?;
        let full = match KINDS.iter().position(|&known| known == kind) {
            Some(position) => position == 1,
            None => return Err(refuse("armor.hessian", format!("is \"{kind}\", expected diagonal or full"))),
        };
        let (tokens, sums) = if full {
            let stored = StoredSums::of_triangle(&file, PART, Some(inputs))?;
            (stored.tokens(), Sums::Full(stored.into_triangle()?))
        } else {
            let stored = StoredSums::of_diagonal(&file, PART, inputs)?;
            (stored.tokens(), Sums::Diagonal(stored.into_diagonal()?))
        };
        Ok(HessianAccumulator { tokens, sums })
    }
}
