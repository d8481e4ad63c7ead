//! Writing and reading of accumulators in the safetensors layout.

use safetensors::Dtype;

use crate::bytes::header::{refuse, write_vector};
use crate::bytes::reader::{Reader, origin};
use crate::error::Error;
use crate::input::accumulator::triangle::Triangle;
use crate::input::accumulator::{HessianAccumulator, Sums};
use crate::input::hessian::{HessianKind, MIN_IMPORTANCE, ROUNDING_SLACK};
use crate::input::weight::fits_f32;

/// The end of the key of the sums.
const PART: &str = "hessian.sums";

/// The values of `armor.hessian`, for the diagonal and for the whole matrix.
const KINDS: [&str; 2] = ["diagonal", "full"];

/// Largest number of tokens in a file. An f64 holds every integer up to this one, and a u64 leaves room for more tokens.
const MOST_TOKENS: u64 = 1 << 53;

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
        let tokens: u64 = file.value("armor.tokens")?;
        if tokens > MOST_TOKENS {
            return Err(refuse("armor.tokens", format!("is {tokens}, more than 2⁵³")));
        }
        let full = match KINDS.iter().position(|&known| known == kind) {
            Some(position) => position == 1,
            None => return Err(refuse("armor.hessian", format!("is \"{kind}\", expected diagonal or full"))),
        };
        let len = if full { triangular(inputs) } else { Some(inputs) };
        let len = len.ok_or_else(|| refuse("armor.inputs", format!("is {inputs}, more than can be addressed")))?;
        let (chunks, _) = file.tensor(PART, Dtype::F64, [Some(len)])?.as_chunks();
        let stored = StoredSums { key: file.key(PART), chunks, tokens, inputs };
        let sums = if full {
            stored.check((0..inputs).map(|i| i * (i + 3) / 2))?;
            Sums::Full(stored.triangle()?)
        } else {
            stored.check(0..inputs)?;
            Sums::Diagonal(stored.values().collect())
        };
        Ok(HessianAccumulator { tokens, sums })
    }
}

/// The sums in a file, as little-endian bytes.
struct StoredSums<'a> {
    key: String,
    chunks: &'a [[u8; size_of::<f64>()]],
    tokens: u64,
    inputs: usize,
}

impl StoredSums<'_> {
    fn values(&self) -> impl Iterator<Item = f64> {
        self.chunks.iter().map(|&chunk| f64::from_le_bytes(chunk))
    }

    /// Makes the error that names the first bad entry.
    fn refuse<T>(&self, index: usize, sum: f64, expected: &str) -> Result<T, Error> {
        Err(refuse(&self.key, format!("entry {index} is {sum}, expected {expected}")))
    }

    /// Checks every sum alone; `squares` gives the ascending positions of the sums of squares.
    ///
    /// # Errors
    /// The first sum that is not zero without tokens, whose mean f32 cannot hold, or that is a negative sum of squares.
    fn check(&self, squares: impl Iterator<Item = usize>) -> Result<(), Error> {
        let mut squares = squares.peekable();
        for (index, sum) in self.values().enumerate() {
            if self.tokens == 0 && sum != 0.0 {
                return self.refuse(index, sum, "0 as there are no tokens");
            }
            if self.tokens > 0 && !fits_f32(sum / self.tokens as f64) {
                return self.refuse(index, sum, "a finite number whose mean fits f32");
            }
            if squares.next_if_eq(&index).is_some() && sum < 0.0 {
                return self.refuse(index, sum, "a sum of squares, not negative");
            }
        }
        Ok(())
    }

    /// Makes the lower triangle of the sums.
    ///
    /// # Errors
    /// The first sum that is larger than the sums of squares of its row and column allow.
    fn triangle(&self) -> Result<Triangle, Error> {
        let mut triangle = Triangle::zeros(self.inputs);
        for ((i, j), sum) in triangle.positions().zip(self.values()) {
            triangle.set_entry(i, j, sum);
        }
        let squares: Vec<f64> = (0..self.inputs).map(|i| triangle.entry(i, i)).collect();
        let floor = MIN_IMPORTANCE * squares.iter().sum::<f64>() / self.inputs as f64;
        for (index, ((i, j), sum)) in triangle.positions().zip(self.values()).enumerate() {
            if sum.abs() > ROUNDING_SLACK * squares[i].max(floor).sqrt() * squares[j].max(floor).sqrt() {
                return self.refuse(index, sum, "no more than its row's and column's sums of squares allow");
            }
        }
        Ok(triangle)
    }
}

/// Counts the entries of a lower triangle; `None` where the whole matrix cannot be addressed.
fn triangular(size: usize) -> Option<usize> {
    let square = size.checked_mul(size).filter(|&square| square <= isize::MAX as usize / size_of::<f64>())?;
    Some((square + size) / 2)
}
