//! The lower triangle of a symmetric matrix of f64 sums, in tiles, and the update that adds a Gram matrix to it.

use std::ops::Range;

use rayon::prelude::*;

use crate::kernels::elementwise::add_terms;
use crate::kernels::linalg::{add_gram, rows_of, set_product};
use crate::kernels::scratch::with_scratch;

/// Rows and columns of a tile. The f64 sums and an f32 product of a tile of this size stay in the second-level cache while
/// all runs of tokens are added.
const TILE: usize = 192;

/// Tokens of one f32 product. The rounding errors of H come from these products, so they must cover few tokens; with this
/// number, adding the products up takes a tenth of the time. The sum of 128 equal squares of a bfloat16 is exact.
const RUN: usize = 128;

/// Bytes of the f32 numbers that are in memory at a time while tokens are added.
const SCRATCH: usize = 16 << 20;

/// The lower triangle, tile by tile: the tiles of the first row of tiles, those of the second, and so on, each
/// row-major. The last row and the last column of tiles are smaller where the tile size does not divide the
/// size of the matrix. Entries of a diagonal tile above the diagonal have no meaning.
#[derive(Clone, Debug)]
pub(crate) struct Triangle {
    size: usize,
    values: Vec<f64>,
}

impl PartialEq for Triangle {
    fn eq(&self, other: &Self) -> bool {
        self.size == other.size && self.positions().all(|(i, j)| self.entry(i, j) == other.entry(i, j))
    }
}

/// Computes the row and the column of a tile from its number.
fn place(tile: usize) -> (usize, usize) {
    let row = ((8 * tile + 1).isqrt() - 1) / 2;
    (row, tile - row * (row + 1) / 2)
}

impl Triangle {
    /// Makes a matrix of zeros, `size` × `size`.
    ///
    /// # Panics
    /// If size² f64 numbers do not fit into the address space.
    pub fn zeros(size: usize) -> Self {
        let bytes = size.checked_mul(size).and_then(|entries| entries.checked_mul(size_of::<f64>()));
        assert!(
            bytes.is_some_and(|bytes| bytes <= isize::MAX as usize),
            "{size}² sums do not fit into the address space"
        );
        let (full, rest) = (size / TILE, size % TILE);
        let values = full * (full + 1) / 2 * TILE * TILE + rest * (full * TILE + rest);
        Triangle { size, values: vec![0.0; values] }
    }

    /// Number of rows, which is also the number of columns.
    pub fn size(&self) -> usize {
        self.size
    }

    /// All positions of the lower triangle, row by row.
    pub fn positions(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        (0..self.size).flat_map(|i| (0..=i).map(move |j| (i, j)))
    }

    /// Index of entry (i, j), j ≤ i, in the stored numbers.
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

    /// Adds Σ x xᵀ over this number of tokens: products of a run of tokens in f32, sums of these products in f64.
    ///
    /// `write` writes the numbers of a token in a range of columns, each a finite number whose square f32 holds 128 times.
    /// As many tokens as the workspace holds are written at a time.
    pub fn add_tokens(&mut self, tokens: usize, write: impl Fn(usize, Range<usize>, &mut [f32]) + Sync) {
        if tokens == 0 || self.size == 0 {
            return;
        }
        let most = Panels::tokens_within(SCRATCH / size_of::<f32>(), self.size);
        let mut panels = Panels::new(most.min(tokens), self.size);
        for start in (0..tokens).step_by(most) {
            panels.fill(start..tokens.min(start + most), &write);
            self.add_gram(&panels);
        }
    }

    /// Adds a matrix of the same size.
    pub fn add(&mut self, other: &Self) {
        add_all(&mut self.values, &other.values);
    }

    fn add_gram(&mut self, panels: &Panels) {
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

/// Computes sums ← sums + others.
pub(crate) fn add_all(sums: &mut [f64], others: &[f64]) {
    for (sum, other) in sums.iter_mut().zip(others) {
        *sum += other;
    }
}

/// Numbers of tokens in f32, tokens × inputs, in panels as wide as a tile, each row-major and one after the other.
struct Panels {
    inputs: usize,
    tokens: usize,
    values: Vec<f32>,
}

impl Panels {
    /// Computes how many tokens `numbers` f32 numbers can hold, in whole runs and at least one.
    fn tokens_within(numbers: usize, inputs: usize) -> usize {
        (numbers / inputs / RUN).max(1) * RUN
    }

    /// Makes panels for this number of tokens.
    fn new(tokens: usize, inputs: usize) -> Self {
        Panels { inputs, tokens, values: vec![0.0; tokens * inputs] }
    }

    /// Fills the panels with these tokens, which must not be more than the panels were made for.
    fn fill(&mut self, tokens: Range<usize>, write: &(impl Fn(usize, Range<usize>, &mut [f32]) + Sync)) {
        self.tokens = tokens.len();
        let values = &mut self.values[..self.tokens * self.inputs];
        values.par_chunks_mut(self.tokens * TILE).enumerate().for_each(|(panel, values)| {
            let (start, width) = (panel * TILE, values.len() / tokens.len());
            for (token, values) in tokens.clone().zip(values.chunks_exact_mut(width)) {
                write(token, start..start + width, values);
            }
        });
    }

    /// Returns a run of tokens of a panel, and the width of the panel.
    fn run(&self, panel: usize, run: usize) -> (&[f32], usize) {
        let (start, width) = (panel * TILE, TILE.min(self.inputs - panel * TILE));
        let values = &self.values[start * self.tokens..][..width * self.tokens];
        (&values[run * RUN * width..width * self.tokens.min((run + 1) * RUN)], width)
    }
}
