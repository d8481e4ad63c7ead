//! The lower triangle of a symmetric matrix of f64 sums, in tiles, and the update that adds a Gram matrix to it.

use ndarray::{ArrayView2, s};
use rayon::prelude::*;

use crate::input::weight::Element;
use crate::kernels::elementwise::add_terms;
use crate::kernels::linalg::{add_gram, rows_of, set_product};
use crate::kernels::scratch::with_scratch;

/// Rows and columns of a tile: its f64 sums and an f32 product stay in the second-level cache while all runs of tokens
/// are added.
const TILE: usize = 192;

/// Tokens of one f32 product: few, for a product's rounding errors are all that H has; enough to spend a tenth of the
/// time on adding them up. 128 equal squares of a bfloat16 are summed exactly.
const RUN: usize = 128;

/// The lower triangle, tile by tile: the tiles of the first row of tiles, those of the second, and so on, each
/// row-major. The last row of tiles and the last column are as narrow as the matrix leaves them. What a tile of the
/// diagonal holds above the diagonal is nobody's.
#[derive(Clone, Debug)]
pub(super) struct Triangle {
    size: usize,
    values: Vec<f64>,
}

impl PartialEq for Triangle {
    fn eq(&self, other: &Self) -> bool {
        self.size == other.size && self.positions().all(|(i, j)| self.entry(i, j) == other.entry(i, j))
    }
}

/// Row and column of a tile, by its number.
fn place(tile: usize) -> (usize, usize) {
    let row = ((8 * tile + 1).isqrt() - 1) / 2;
    (row, tile - row * (row + 1) / 2)
}

impl Triangle {
    /// A matrix of zeros, `size` × `size`.
    pub fn zeros(size: usize) -> Self {
        let bytes = size.checked_mul(size).and_then(|entries| entries.checked_mul(size_of::<f64>()));
        assert!(bytes.is_some_and(|bytes| bytes <= isize::MAX as usize), "{size}² sums are beyond the address space");
        let (full, rest) = (size / TILE, size % TILE);
        let values = full * (full + 1) / 2 * TILE * TILE + rest * (full * TILE + rest);
        Triangle { size, values: vec![0.0; values] }
    }

    /// Rows, which is columns.
    pub fn size(&self) -> usize {
        self.size
    }

    /// All that is stored, in an order that depends on the size alone.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// As [`Triangle::values`].
    pub fn values_mut(&mut self) -> &mut [f64] {
        &mut self.values
    }

    /// All positions of the lower triangle, row by row.
    pub fn positions(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        (0..self.size).flat_map(|i| (0..=i).map(move |j| (i, j)))
    }

    /// Where entry (i, j), j ≤ i, is stored.
    fn index(&self, i: usize, j: usize) -> usize {
        let (row, col) = (i / TILE, j / TILE);
        let height = TILE.min(self.size - row * TILE);
        let width = TILE.min(self.size - col * TILE);
        row * (row + 1) / 2 * TILE * TILE + col * height * TILE + i % TILE * width + j % TILE
    }

    /// Entry (i, j), j ≤ i.
    pub fn entry(&self, i: usize, j: usize) -> f64 {
        self.values[self.index(i, j)]
    }

    /// Sets entry (i, j), j ≤ i.
    #[cfg(feature = "safetensors")]
    pub fn set_entry(&mut self, i: usize, j: usize, value: f64) {
        let index = self.index(i, j);
        self.values[index] = value;
    }

    /// Adds Σ x xᵀ over the tokens of some panels: products in f32 by runs of tokens, sums in f64.
    pub fn add_gram(&mut self, panels: &Panels) {
        let (rows, height) = ((self.size - 1) / TILE, (self.size - 1) % TILE + 1);
        // All rows of tiles but the last are of full height.
        let (above, last) = self.values.split_at_mut(rows * (rows + 1) / 2 * TILE * TILE);
        let tiles = above.par_chunks_mut(TILE * TILE).chain(last.par_chunks_mut(height * TILE));
        tiles.enumerate().for_each(|(tile, sums)| {
            let (row, col) = place(tile);
            with_scratch([sums.len()], |[product]| {
                for run in 0..panels.tokens.div_ceil(RUN) {
                    let (lhs, width) = panels.run(row, run);
                    if row == col {
                        product.fill(0.0);
                        add_gram(product, rows_of(lhs, width));
                    } else {
                        set_product(product, rows_of(lhs, width).transpose(), rows_of(panels.run(col, run).0, TILE));
                    }
                    add_terms(sums, product);
                }
            });
        });
    }
}

/// Activations in f32, tokens × inputs, in panels as wide as a tile, each row-major and one after the other.
pub(super) struct Panels {
    inputs: usize,
    tokens: usize,
    values: Vec<f32>,
}

impl Panels {
    /// How many tokens to take at a time for no more than `numbers` f32 numbers: whole runs, one at least.
    pub fn tokens_within(numbers: usize, inputs: usize) -> usize {
        (numbers / inputs / RUN).max(1) * RUN
    }

    /// Room for so many tokens.
    pub fn new(tokens: usize, inputs: usize) -> Self {
        Panels { inputs, tokens, values: vec![0.0; tokens * inputs] }
    }

    /// Converts activations, as many tokens as there is room for or fewer.
    pub fn fill<T: Element>(&mut self, activations: &ArrayView2<'_, T>) {
        self.tokens = activations.nrows();
        let values = &mut self.values[..self.tokens * self.inputs];
        values.par_chunks_mut(self.tokens * TILE).enumerate().for_each(|(panel, values)| {
            let start = panel * TILE;
            let columns = activations.slice(s![.., start..start + values.len() / activations.nrows()]);
            for (row, values) in columns.rows().into_iter().zip(values.chunks_exact_mut(columns.ncols())) {
                T::convert(row, values);
            }
        });
    }

    /// A run of tokens of a panel, and the panel's width.
    fn run(&self, panel: usize, run: usize) -> (&[f32], usize) {
        let (start, width) = (panel * TILE, TILE.min(self.inputs - panel * TILE));
        let values = &self.values[start * self.tokens..][..width * self.tokens];
        (&values[run * RUN * width..width * self.tokens.min((run + 1) * RUN)], width)
    }
}
