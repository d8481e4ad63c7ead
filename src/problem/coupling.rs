//! Losses whose errors couple: Ω, the correlation of the whitened inputs, and its Cholesky factor.
//!
//! With the whole Hessian the loss is tr(E Ω Eᵀ), E = Y − A S B̃ and Ω the correlation of the inputs, shrunk towards
//! I. With Ω = L Lᵀ it is ‖Y L − A S V‖²_F, V = B̃ L: the separable loss again, except that V is not block-diagonal but
//! lower triangular. V and all other matrices of k × k are made by *tiles* of columns, which are runs of column blocks.

mod memory;
pub(crate) mod products;
pub(crate) mod tiles;

use std::ops::Range;

use rayon::prelude::*;

use crate::error::Error;
use crate::factors::block_diagonal::BlockDiagonal;
use crate::factors::partition::Partition;
use crate::input::hessian::{Hessian, MIN_IMPORTANCE};
use crate::kernels::elementwise;
use crate::kernels::linalg::{cholesky_with_ridge, part_of, rows_of, set_part_product};
use crate::problem::correlation::Correlation;
use crate::problem::coupling::memory::tile_within;
use crate::problem::coupling::tiles::BlockRuns;

/// What a loss whose errors couple adds to the target: Ω, k × k, and its lower Cholesky factor L with Ω = L Lᵀ.
#[derive(Clone, Debug)]
pub struct Coupling {
    matrix: Hessian,
    /// √((1 − α) / M_jj), zero for dead inputs: Ω_ij = M_ij scale_i scale_j off the diagonal. An M_jj below
    /// [`MIN_IMPORTANCE`] of the mean is raised to that.
    scales: Vec<f64>,
    /// The same with every M_jj as it is.
    exact_scales: Vec<f64>,
    ridge: f64,
    tiles: BlockRuns,
    bands: BlockRuns,
    /// L, k × k, row-major, zeros above the diagonal.
    factor: Vec<f32>,
    /// Y L, m × k, row-major.
    whitened: Vec<f32>,
    /// Y Ω, m × k, row-major.
    weighted: Vec<f32>,
}

/// Most blocks of rows that one task works on: enough for an efficient product, and eight tasks or more, where there are
/// as many blocks. The number follows from the layer's shape alone, so results do not depend on threads.
fn blocks_of_a_band(rows: Partition) -> usize {
    const ROWS: usize = 256;
    (ROWS / rows.block).clamp(1, rows.count().div_ceil(8))
}

impl Coupling {
    /// Factors Ω, with as much of a ridge as it needs, and whitens Y with it.
    ///
    /// `y` writes a row of Y, length k.
    pub(crate) fn new(
        correlation: &Correlation,
        memory_limit: Option<usize>,
        (rows, cols): (Partition, Partition),
        y: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Result<Self, Error> {
        let (matrix, alpha) = (correlation.matrix().clone(), correlation.shrinkage());
        let width = tile_within(memory_limit, rows, cols)?;
        let scales = |floor: f64| {
            let scale = |&h: &f64| if h > 0.0 { ((1.0 - alpha) / h.max(floor)).sqrt() } else { 0.0 };
            matrix.diagonal().iter().map(scale).collect()
        };
        let mut coupling = Coupling {
            scales: scales(MIN_IMPORTANCE * matrix.mean()),
            exact_scales: scales(f64::MIN_POSITIVE),
            matrix,
            ridge: 0.0,
            tiles: BlockRuns::new(cols, width / cols.block),
            bands: BlockRuns::new(rows, blocks_of_a_band(rows)),
            factor: Vec::new(),
            whitened: Vec::new(),
            weighted: Vec::new(),
        };
        coupling.factorize();
        coupling.whiten(y);
        Ok(coupling)
    }

    /// Finds L, with no ridge where none is needed.
    fn factorize(&mut self) {
        let k = self.cols().len;
        let (matrix, ridge) = cholesky_with_ridge(k, 0.0, |matrix, ridge| {
            matrix.par_chunks_mut(k).enumerate().for_each(|(i, row)| {
                row.iter_mut().zip(self.row(i)).for_each(|(entry, value)| *entry = value);
                row[i] += ridge;
            });
        });
        self.ridge = ridge;
        self.factor = vec![0.0; k * k];
        self.factor.par_chunks_mut(k).zip(matrix.par_chunks(k)).enumerate().for_each(|(i, (factor, row))| {
            for (to, from) in factor[..=i].iter_mut().zip(row) {
                *to = *from as f32;
            }
        });
    }

    /// Computes Y L and Y Ω = (Y L) Lᵀ.
    fn whiten(&mut self, y: impl Fn(usize, &mut [f32]) + Sync) {
        let (k, height) = (self.cols().len, self.bands.size());
        let mut whitened = vec![0.0; self.bands.blocks.len * k];
        let mut weighted = vec![0.0; whitened.len()];
        let bands = whitened.par_chunks_mut(height * k).zip(weighted.par_chunks_mut(height * k));
        bands.enumerate().for_each(|(band, (whitened, weighted))| {
            let rows = self.bands.range(band);
            // `weighted` holds Y itself until both products are made.
            for (row, out) in rows.clone().zip(weighted.chunks_exact_mut(k)) {
                y(row, out);
            }
            let count = rows.len();
            for tile in self.tiles.iter() {
                let (from, width) = (tile.start, tile.len());
                let lower = part_of(&self.factor[from * k + from..], k - from, width, k);
                set_part_product(&mut whitened[from..], k, part_of(&weighted[from..], count, k - from, k), lower);
            }
            for tile in self.tiles.iter() {
                let (end, width) = (tile.end, tile.len());
                let rows_of_lower = part_of(&self.factor[tile.start * k..], width, end, k);
                let product = (part_of(whitened, count, end, k), rows_of_lower.transpose());
                set_part_product(&mut weighted[tile.start..], k, product.0, product.1);
            }
        });
        (self.whitened, self.weighted) = (whitened, weighted);
    }

    /// Ridge that was added to Ω's unit diagonal to factor it; 0 for a well-conditioned one.
    pub fn ridge(&self) -> f64 {
        self.ridge
    }

    /// Row `i` of Ω, k numbers, the ridge included. An M_jj below 10⁻¹² of the mean of M's diagonal is raised to that, as
    /// the importances that Y is whitened with are.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, i: usize) -> impl Iterator<Item = f64> + '_ {
        self.scaled_row(i, &self.scales)
    }

    /// Row `i` of Ω as the loss of a result weighs it: with every M_jj as it is.
    pub(crate) fn exact_row(&self, i: usize) -> impl Iterator<Item = f64> + '_ {
        self.scaled_row(i, &self.exact_scales)
    }

    fn scaled_row<'c>(&'c self, i: usize, scales: &'c [f64]) -> impl Iterator<Item = f64> + 'c {
        let row = self.matrix.row(i).expect("a coupling's matrix is full");
        row.iter()
            .zip(scales)
            .enumerate()
            .map(move |(j, (&h, scale))| if i == j { 1.0 + self.ridge } else { f64::from(h) * scales[i] * scale })
    }

    /// Row `i` of L, k numbers, of which those above the diagonal are zero.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn factor_row(&self, i: usize) -> &[f32] {
        let k = self.cols().len;
        &self.factor[i * k..(i + 1) * k]
    }

    pub(crate) fn factor(&self) -> &[f32] {
        &self.factor
    }

    pub(crate) fn cols(&self) -> Partition {
        self.tiles.blocks
    }

    pub(crate) fn tiles(&self) -> BlockRuns {
        self.tiles
    }

    pub(crate) fn bands(&self) -> BlockRuns {
        self.bands
    }

    /// Y L, m × k, row-major.
    pub(crate) fn whitened(&self) -> &[f32] {
        &self.whitened
    }

    /// Y Ω, m × k, row-major.
    pub(crate) fn weighted(&self) -> &[f32] {
        &self.weighted
    }

    /// The loss at Ŵ = 0, ‖Y L‖².
    pub(crate) fn energy(&self) -> f64 {
        self.square(&self.whitened)
    }

    /// Sum of squares of m × k numbers, row-major; the same for any number of threads.
    pub(crate) fn square(&self, rows: &[f32]) -> f64 {
        let sums: Vec<f64> = rows.par_chunks(self.cols().len).map(elementwise::square).collect();
        sums.iter().sum()
    }

    /// Writes rows `tile` of V = B̃ L up to their last column, `tile.len()` × `tile.end`.
    pub(crate) fn write_rows_of_v(&self, right: &BlockDiagonal, tile: &Range<usize>, out: &mut [f32]) {
        let (k, end) = (self.cols().len, tile.end);
        let height = self.cols().block;
        out.par_chunks_mut(height * end).zip(self.tiles.blocks_of(tile)).for_each(|(out, b)| {
            let rows = self.cols().range(b);
            // Only the columns of L's rows up to the block's last one are not zero.
            for row in out.chunks_exact_mut(end) {
                row[rows.end..].fill(0.0);
            }
            let lower = part_of(&self.factor[rows.start * k..], rows.len(), rows.end, k);
            set_part_product(out, end, rows_of(right.values(b), rows.len()), lower);
        });
    }
}
