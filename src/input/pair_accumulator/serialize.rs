//! Writing and reading of accumulators of pairs in the safetensors layout.

use safetensors::Dtype;

use crate::bytes::header::write_vector;
use crate::bytes::reader::{Reader, origin};
use crate::error::Error;
use crate::input::pair_accumulator::PairAccumulator;
use crate::input::stored_sums::StoredSums;

/// The end of the key of the sums.
const PART: &str = "pairs.sums";

impl PairAccumulator {
    /// Writes the accumulator for the inputs of tensor `name` (without `.weight`) as a safetensors file.
    ///
    /// | key | type | shape | content |
    /// |---|---|---|---|
    /// | `{name}.armor.pairs.sums` | F64 | \[k(2k + 1)\] | the lower triangle of Σ z zᵀ, 2k × 2k, row by row |
    ///
    /// z holds the k numbers of x − x̂ and then those of x̂. The metadata hold `armor.format` (2), `armor.writer` (the
    /// library and its version), `armor.inputs` (k) and `armor.tokens` (N). Equal accumulators give equal bytes.
    ///
    /// # Errors
    /// [`Error::Bytes`] where the name makes the header longer than the format allows, 100 MB.
    pub fn to_safetensors(&self, name: &str) -> Result<Vec<u8>, Error> {
        let bytes: Vec<u8> = self.sums.positions().flat_map(|(i, j)| self.sums.entry(i, j).to_le_bytes()).collect();
        let metadata = [("armor.inputs", self.inputs().to_string()), ("armor.tokens", self.tokens.to_string())];
        let metadata = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).chain(origin()).collect();
        write_vector(&format!("{name}.armor.{PART}"), Dtype::F64, &bytes, &metadata)
    }

    /// Reads the accumulator for the inputs of tensor `name` from bytes that [`PairAccumulator::to_safetensors`] wrote, or
    /// that another program wrote in the same layout. The result equals the one written; more tokens may follow.
    ///
    /// Tensors of other names are ignored.
    ///
    /// # Errors
    /// [`Error::Bytes`] with the key that is wrong: a header that is cut off or does not describe the data, a missing
    /// tensor, a wrong type or shape, more than 2⁵³ tokens, sums that no activations have.
    pub fn from_safetensors(bytes: &[u8], name: &str) -> Result<Self, Error> {
        let file = Reader::new(bytes, name)?;
        file.check_format()?;
        let inputs: usize = file.value("armor.inputs")?;
        let stored = StoredSums::of_triangle(&file, PART, inputs.checked_mul(2))?;
        Ok(PairAccumulator { tokens: stored.tokens(), sums: stored.into_triangle()? })
    }
}
