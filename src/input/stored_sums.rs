//! Reading of the sums of accumulators from files, with checks.

use safetensors::Dtype;

use crate::bytes::header::refuse;
use crate::bytes::reader::Reader;
use crate::error::Error;
use crate::input::hessian::{MIN_IMPORTANCE, ROUNDING_SLACK};
use crate::input::triangle::Triangle;
use crate::input::weight::fits_f32;

/// Largest number of tokens in a file. An f64 holds every integer up to this one, and a u64 leaves room for more tokens.
const MOST_TOKENS: u64 = 1 << 53;

/// The sums in a file, as little-endian bytes.
pub(crate) struct StoredSums<'a> {
    key: String,
    chunks: &'a [[u8; size_of::<f64>()]],
    tokens: u64,
    size: usize,
}

impl<'a> StoredSums<'a> {
    /// Finds a diagonal of this size.
    ///
    /// # Errors
    /// [`Error::Bytes`] for a missing tensor, one of another type or shape, or a wrong number of tokens.
    pub fn of_diagonal(file: &Reader<'a>, part: &str, size: usize) -> Result<Self, Error> {
        Self::of(file, part, size, size)
    }

    /// Finds a lower triangle of this size, `None` for one that a `usize` cannot hold.
    ///
    /// # Errors
    /// As [`StoredSums::of_diagonal`], and for a size that cannot be addressed.
    pub fn of_triangle(file: &Reader<'a>, part: &str, size: Option<usize>) -> Result<Self, Error> {
        let (size, len) = size.and_then(|size| Some((size, triangular(size)?))).ok_or_else(|| {
            let inputs = file.word("armor.inputs").map_or("", String::as_str);
            refuse("armor.inputs", format!("is {inputs}, more than can be addressed"))
        })?;
        Self::of(file, part, size, len)
    }

    fn of(file: &Reader<'a>, part: &str, size: usize, len: usize) -> Result<Self, Error> {
        let tokens: u64 = file.value("armor.tokens")?;
        if tokens > MOST_TOKENS {
            return Err(refuse("armor.tokens", format!("is {tokens}, more than 2⁵³")));
        }
        let (chunks, _) = file.tensor(part, Dtype::F64, [Some(len)])?.as_chunks();
        Ok(StoredSums { key: file.key(part), chunks, tokens, size })
    }

    /// Returns the number of tokens that were added up.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Makes the diagonal of the sums.
    ///
    /// # Errors
    /// The first sum that no activations have.
    pub fn into_diagonal(self) -> Result<Vec<f64>, Error> {
        self.check(0..self.size)?;
        Ok(self.values().collect())
    }

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
    /// The first sum that no activations have alone, or that is larger than the sums of squares of its row and column
    /// allow.
    pub fn into_triangle(self) -> Result<Triangle, Error> {
        self.check((0..self.size).map(|i| i * (i + 3) / 2))?;
        let mut triangle = Triangle::zeros(self.size);
        for ((i, j), sum) in triangle.positions().zip(self.values()) {
            triangle.set_entry(i, j, sum);
        }
        let squares: Vec<f64> = (0..self.size).map(|i| triangle.entry(i, i)).collect();
        let floor = MIN_IMPORTANCE * squares.iter().sum::<f64>() / self.size as f64;
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
