//! Accumulators as bytes: the safetensors layout, written and read.

use std::collections::BTreeMap;

use safetensors::Dtype;

use super::{HessianAccumulator, Sums};
use crate::bytes::header::{refuse, write};
use crate::bytes::reader::{FORMAT, Reader};
use crate::error::Error;
use crate::input::accumulator::triangle::Triangle;
use crate::input::hessian::{MIN_IMPORTANCE, ROUNDING_SLACK};
use crate::input::weight::fits_f32;

/// The end of the key that the sums stand under.
const PART: &str = "hessian.sums";

/// What `armor.hessian` says.
const KINDS: [&str; 2] = ["diagonal", "full"];

/// Most tokens of a file: as far as doubles count, and far enough below a u64's end to go on from.
const MOST_TOKENS: u64 = 1 << 53;

impl HessianAccumulator {
    /// Writes the accumulator for the inputs of tensor `name` (without `.weight`) as a safetensors file.
    ///
    /// | key | type | shape | content |
    /// |---|---|---|---|
    /// | `{name}.armor.hessian.sums` | F64 | \[k\], or [k(k + 1)/2] | Σ x², or the lower triangle of Σ x xᵀ row by row |
    ///
    /// The metadata hold `armor.format` (1), `armor.hessian` (`diagonal` or `full`), `armor.inputs` (k) and
    /// `armor.tokens` (N). Equal accumulators give equal bytes.
    ///
    /// # Errors
    /// [`Error::Bytes`] where the name makes the header longer than the format allows, 100 MB.
    pub fn to_safetensors(&self, name: &str) -> Result<Vec<u8>, Error> {
        let bytes: Vec<u8> = match &self.sums {
            Sums::Diagonal(sums) => sums.iter().flat_map(|sum| sum.to_le_bytes()).collect(),
            Sums::Full(sums) => sums.positions().flat_map(|(i, j)| sums.entry(i, j).to_le_bytes()).collect(),
        };
        let metadata = BTreeMap::from([
            ("armor.format", FORMAT.to_owned()),
            ("armor.hessian", KINDS[usize::from(self.is_full())].to_owned()),
            ("armor.inputs", self.inputs().to_string()),
            ("armor.tokens", self.tokens.to_string()),
        ]);
        write(name, &[(PART, Dtype::F64, vec![bytes.len() / size_of::<f64>()], bytes)], metadata)
    }

    /// Reads the accumulator for the inputs of tensor `name` from bytes that [`HessianAccumulator::to_safetensors`]
    /// wrote, or another program in the same layout. The result equals the one written; more tokens may follow.
    ///
    /// Tensors of other names are ignored.
    ///
    /// # Errors
    /// [`Error::Bytes`] with the key at fault: a header that is cut off or lies about the data, a missing tensor, a
    /// wrong type or shape, more than 2⁵³ tokens, sums that no activations have.
    pub fn from_safetensors(bytes: &[u8], name: &str) -> Result<Self, Error> {
        let file = Reader::new(bytes, name)?;
        file.check_format()?;
        let kind: String = file.value("armor.hessian")?;
        let inputs: usize = file.value("armor.inputs")?;
        let tokens: u64 = file.value("armor.tokens")?;
        if tokens > MOST_TOKENS {
            return Err(refuse("armor.tokens", format!("is {tokens}, more than 2⁵³")));
        }
        let full = KINDS.iter().position(|&known| known == kind);
        let full = full.ok_or_else(|| refuse("armor.hessian", format!("is \"{kind}\", expected diagonal or full")))?;
        let len = if full == 1 { triangular(inputs) } else { Some(inputs) };
        let len = len.ok_or_else(|| refuse("armor.inputs", format!("is {inputs}, more than can be addressed")))?;
        let (chunks, _) = file.tensor(PART, Dtype::F64, [Some(len)])?.as_chunks();
        let sums = chunks.iter().map(|&chunk| f64::from_le_bytes(chunk));
        let problem = |index: usize, sum: f64, expected: &str| {
            Err(refuse(file.key(PART), format!("entry {index} is {sum}, expected {expected}")))
        };
        let mut diagonal = (0..inputs).map(|i| if full == 1 { i * (i + 3) / 2 } else { i }).peekable();
        for (index, sum) in sums.clone().enumerate() {
            if tokens == 0 && sum != 0.0 {
                return problem(index, sum, "0 as there are no tokens");
            }
            if tokens > 0 && !fits_f32(sum / tokens as f64) {
                return problem(index, sum, "a finite number whose mean fits f32");
            }
            if diagonal.next_if_eq(&index).is_some() && sum < 0.0 {
                return problem(index, sum, "a sum of squares, not negative");
            }
        }
        if full == 0 {
            return Ok(HessianAccumulator { tokens, sums: Sums::Diagonal(sums.collect()) });
        }
        let mut triangle = Triangle::zeros(inputs);
        for ((i, j), sum) in triangle.positions().zip(sums.clone()) {
            triangle.set_entry(i, j, sum);
        }
        let squares: Vec<f64> = (0..inputs).map(|i| triangle.entry(i, i)).collect();
        let floor = MIN_IMPORTANCE * squares.iter().sum::<f64>() / inputs as f64;
        for (index, ((i, j), sum)) in triangle.positions().zip(sums).enumerate() {
            if sum.abs() > ROUNDING_SLACK * squares[i].max(floor).sqrt() * squares[j].max(floor).sqrt() {
                return problem(index, sum, "no more than its row's and column's sums of squares allow");
            }
        }
        Ok(HessianAccumulator { tokens, sums: Sums::Full(triangle) })
    }
}

/// Entries of a lower triangle, where the whole matrix can be addressed.
fn triangular(size: usize) -> Option<usize> {
    let square = size.checked_mul(size).filter(|&square| square <= isize::MAX as usize / size_of::<f64>())?;
    Some((square + size) / 2)
}
