//! The core as sparse tensor cores take it: kept values, and 16-bit metadata in the order of CUTLASS.
//!
//! A group of four that keeps columns i < j is the nibble i + 4 j, so {01, 02, 12, 03, 13, 23} are 4, 8, 9, C, D, E. Four
//! groups of a row are one 16-bit word, the first group lowest: an m × k/16 matrix of words. Then the words
//! are reordered so that each thread of a warp loads the words that it needs at once: see [`position`].

use safetensors::Dtype;

use crate::factors::groups::columns;
use crate::factors::precision::Precision;
use crate::factors::sparse_core::SparseCore;
use crate::result::formats::factors;
use crate::result::formats::tensor::Tensor;

/// Rows that are reordered together.
pub(super) const ROWS: usize = 32;

/// Columns of W that two metadata words, neighbours in the interleaved order, stand for.
pub(super) const COLS: usize = 32;

/// Groups of four that one metadata word describes.
const GROUPS: usize = 4;

/// Gives values [m, k/2] and metadata [m, k/16] of a 2:4 core.
pub(super) fn tensors<'a>(core: &'a SparseCore, name: &str, precision: Precision) -> [Tensor<'a>; 2] {
    let shape = [core.rows(), core.groups() / GROUPS];
    let words = move || Ok(words(core).iter().flat_map(|word| word.to_le_bytes()).collect());
    [
        factors::values(core, format!("{name}.armor.core.packed"), precision),
        Tensor::new(format!("{name}.armor.core.meta"), Dtype::I16, shape, words),
    ]
}

/// Gives the metadata words in the order of CUTLASS.
fn words(core: &SparseCore) -> Vec<u16> {
    let (rows, cols) = (core.rows(), core.groups() / GROUPS);
    let mut words = vec![0; rows * cols];
    for row in 0..rows {
        for col in 0..cols {
            let nibbles = (0..GROUPS).map(|i| nibble(core.group(row, col * GROUPS + i).0) << (4 * i));
            words[position((row, col), rows)] = nibbles.sum();
        }
    }
    words
}

/// Gives the kept columns i < j as the number i + 4 j.
fn nibble(mask: u8) -> u16 {
    columns(mask).zip([1, 4]).map(|(column, weight)| column as u16 * weight).sum()
}

/// Gives the index of the word of (row, col) in the reordered matrix of `rows` rows.
///
/// 1. In every 32 rows, row 8 i + j becomes row 4 j + i.
/// 2. In every 2 × 2 block of words the upper right and the lower left word are exchanged.
/// 3. Columns are stored by pairs: both words of a row side by side, the rows one after the other, then the next pair.
fn position((row, col): (usize, usize), rows: usize) -> usize {
    let row = row / ROWS * ROWS + 4 * (row % 8) + row % ROWS / 8;
    let (row, col) = (row & !1 | col & 1, col & !1 | row & 1);
    col / 2 * 2 * rows + 2 * row + col % 2
}
