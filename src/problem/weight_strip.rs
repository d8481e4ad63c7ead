//! Strips of a weight's rows in f64, and their products with k × k matrices that are read row by row.

use std::ops::Range;

use rayon::prelude::*;

use crate::input::layer::Layer;
use crate::kernels::linalg::{add_product, part_of, rows_of};

/// Rows of a strip: enough for efficient products. A task has one strip and its products in memory.
pub(crate) const HEIGHT: usize = 64;

/// Rows of a k × k matrix that a task has in memory.
const SPAN: usize = 64;

/// All strips of a layer, as their rows.
pub(crate) fn strips(layer: &Layer<'_>) -> impl IndexedParallelIterator<Item = Range<usize>> + use<> {
    let rows = layer.rows();
    (0..rows.div_ceil(HEIGHT)).into_par_iter().map(move |strip| strip * HEIGHT..rows.min((strip + 1) * HEIGHT))
}

/// Copies rows of the layer's weight, rounded to f32, row-major.
pub(crate) fn weights_of(layer: &Layer<'_>, rows: Range<usize>) -> Vec<f32> {
    let inputs = layer.cols();
    let mut weights = vec![0.0; rows.len() * inputs];
    for (row, out) in rows.zip(weights.chunks_exact_mut(inputs)) {
        layer.weight().copy_row(row, 0..inputs, out);
    }
    weights
}

/// Converts numbers to f64.
pub(crate) fn widened(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| value.into()).collect()
}

/// Computes strip · matrix, row-major, for a k × k matrix of which `write_row` writes a row.
pub(crate) fn product(strip: &[f64], inputs: usize, write_row: impl Fn(usize, &mut [f64])) -> Vec<f64> {
    let mut product = vec![0.0; strip.len()];
    let mut block = vec![0.0; SPAN.min(inputs) * inputs];
    for start in (0..inputs).step_by(SPAN) {
        let height = SPAN.min(inputs - start);
        for (row, out) in (start..start + height).zip(block.chunks_exact_mut(inputs)) {
            write_row(row, out);
        }
        let columns = part_of(&strip[start..], strip.len() / inputs, height, inputs);
        add_product(&mut product, columns, rows_of(&block[..height * inputs], inputs));
    }
    product
}

/// Adds up the products of entries at the same place.
pub(crate) fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(left, right)| left * right).sum()
}
