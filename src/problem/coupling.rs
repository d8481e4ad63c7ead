//! Losses whose errors couple: Ω, the correlation of the whitened inputs, and its Cholesky factor.
//!
//! With the whole Hessian the loss is tr(E Ω Eᵀ), E = Y − A S B̃ and Ω the correlation of the inputs, shrunk towards
//! I. With Ω = L Lᵀ it is ‖Y L − A S V‖²_F, V = B̃ L: the separable loss once more, only that V is no longer
//! block-diagonal but a lower triangle. V and everything else of k × k is made by *spans*, runs of column blocks.

mod products;

pub(crate) use products::Spread;

use std::ops::Range;

use rayon::prelude::*;

use crate::error::Error;
use crate::factors::block_diagonal::BlockDiagonal;
use crate::factors::partition::Partition;
use crate::input::hessian::FAINTEST;
use crate::input::hessian::Hessian;
use crate::input::layer::Layer;
use crate::kernels::linalg::{cholesky_with_ridge, part_of, rows_of, set_part_product};

/// What a coupled loss adds to the target.
#[derive(Clone, Debug)]
pub(crate) struct Coupling {
    hessian: Hessian,
    /// √((1 − α) / H_jj), zero for inputs that were never excited: Ω_ij = H_ij scale_i scale_j off the diagonal.
    scales: Vec<f64>,
    ridge: f64,
    spans: Runs,
    bands: Runs,
    /// L, k × k, row-major, zeros above the diagonal.
    factor: Vec<f32>,
    /// Y L, m × k, row-major.
    whitened: Vec<f32>,
    /// Y Ω, m × k, row-major.
    weighted: Vec<f32>,
}

/// Columns of a span: enough rows of V for efficient products, few enough for a product's panels to stay in cache.
const SPAN: usize = 512;

/// Most blocks of rows that one task works on: enough for an efficient product, and eight tasks or more, where there are
/// as many blocks. By the layer's shape alone, so results do not depend on threads.
fn blocks_of_a_band(rows: Partition) -> usize {
    const ROWS: usize = 256;
    (ROWS / rows.block).clamp(1, rows.count().div_ceil(8))
}

/// Runs of blocks, all of the same number of blocks but the last: *spans* of columns, *bands* of rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Runs {
    /// The blocks.
    pub of: Partition,
    /// The runs, as larger blocks.
    runs: Partition,
}

impl Runs {
    fn new(of: Partition, blocks: usize) -> Self {
        Runs { of, runs: Partition::new(of.len, blocks.max(1) * of.block) }
    }

    /// Columns or rows of a run but the last.
    pub fn size(self) -> usize {
        self.runs.block
    }

    /// The columns or rows of a run.
    pub fn range(self, run: usize) -> Range<usize> {
        self.runs.range(run)
    }

    /// Those of every run, in order.
    pub fn iter(self) -> impl Iterator<Item = Range<usize>> {
        (0..self.runs.count()).map(move |run| self.range(run))
    }

    /// The blocks of a run, given its columns or rows.
    pub fn blocks(self, range: &Range<usize>) -> Range<usize> {
        range.start / self.of.block..range.end.div_ceil(self.of.block)
    }
}

impl Coupling {
    /// Factors Ω = (1 − α) corr(H) + α I, with as much of a ridge as it needs, and whitens Y with it.
    ///
    /// `y` writes a row of Y, length k.
    pub fn new(
        layer: &Layer<'_>,
        shrinkage: f64,
        memory_limit: Option<usize>,
        (rows, cols): (Partition, Partition),
        y: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Result<Self, Error> {
        let hessian = layer.hessian().clone();
        if !hessian.is_full() {
            return Err(Error::HessianNotFull { needed_by: "the full objective" });
        }
        let width = span_within(memory_limit, rows, cols)?;
        let floor = FAINTEST * hessian.mean();
        let scale = |&h: &f64| if h > 0.0 { ((1.0 - shrinkage) / h.max(floor)).sqrt() } else { 0.0 };
        let scales = hessian.diagonal_values().iter().map(scale).collect();
        let mut coupling = Coupling {
            hessian,
            scales,
            ridge: 0.0,
            spans: Runs::new(cols, width / cols.block),
            bands: Runs::new(rows, blocks_of_a_band(rows)),
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
                row.iter_mut().zip(self.correlations(i)).for_each(|(entry, value)| *entry = value);
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
        let mut whitened = vec![0.0; self.bands.of.len * k];
        let mut weighted = vec![0.0; whitened.len()];
        let bands = whitened.par_chunks_mut(height * k).zip(weighted.par_chunks_mut(height * k));
        bands.enumerate().for_each(|(band, (whitened, weighted))| {
            let rows = self.bands.range(band);
            // Y itself, for as long as its other products are made.
            for (row, out) in rows.clone().zip(weighted.chunks_exact_mut(k)) {
                y(row, out);
            }
            let count = rows.len();
            for span in self.spans.iter() {
                let (from, width) = (span.start, span.len());
                let lower = part_of(&self.factor[from * k + from..], k - from, width, k);
                set_part_product(&mut whitened[from..], k, part_of(&weighted[from..], count, k - from, k), lower);
            }
            for span in self.spans.iter() {
                let (end, width) = (span.end, span.len());
                let rows_of_lower = part_of(&self.factor[span.start * k..], width, end, k);
                let product = (part_of(whitened, count, end, k), rows_of_lower.transpose());
                set_part_product(&mut weighted[span.start..], k, product.0, product.1);
            }
        });
        (self.whitened, self.weighted) = (whitened, weighted);
    }

    /// Ridge that was added to Ω's unit diagonal to factor it; 0 for a well-conditioned one.
    pub fn ridge(&self) -> f64 {
        self.ridge
    }

    pub fn cols(&self) -> Partition {
        self.spans.of
    }

    pub fn spans(&self) -> Runs {
        self.spans
    }

    pub fn bands(&self) -> Runs {
        self.bands
    }

    /// Y L, m × k, row-major.
    pub fn whitened(&self) -> &[f32] {
        &self.whitened
    }

    /// Y Ω, m × k, row-major.
    pub fn weighted(&self) -> &[f32] {
        &self.weighted
    }

    /// The loss at Ŵ = 0, ‖Y L‖².
    pub fn energy(&self) -> f64 {
        self.square(&self.whitened)
    }

    /// Sum of squares of m × k numbers, row-major; the same for any number of threads.
    pub fn square(&self, rows: &[f32]) -> f64 {
        let sums: Vec<f64> = rows.par_chunks(self.cols().len).map(crate::kernels::elementwise::square).collect();
        sums.iter().sum()
    }

    /// Row i of Ω, the ridge included.
    pub fn correlations(&self, i: usize) -> impl Iterator<Item = f64> + '_ {
        let row = self.hessian.row(i).expect("a coupling's Hessian is full");
        row.iter()
            .zip(&self.scales)
            .enumerate()
            .map(move |(j, (&h, scale))| if i == j { 1.0 + self.ridge } else { f64::from(h) * self.scales[i] * scale })
    }

    /// Writes rows `span` of V = B̃ L up to their last column, `span.len()` × `span.end`.
    pub fn spread(&self, right: &BlockDiagonal, span: &Range<usize>, out: &mut [f32]) {
        let (k, end) = (self.cols().len, span.end);
        let height = self.cols().block;
        out.par_chunks_mut(height * end).zip(self.spans.blocks(span)).for_each(|(out, b)| {
            let rows = self.cols().range(b);
            // Of L's rows only the columns up to the block's last one are not zero.
            for row in out.chunks_exact_mut(end) {
                row[rows.end..].fill(0.0);
            }
            let lower = part_of(&self.factor[rows.start * k..], rows.len(), rows.end, k);
            set_part_product(out, end, rows_of(right.values(b), rows.len()), lower);
        });
    }
}

/// The widest span up to [`SPAN`] columns whose working memory keeps within the limit.
fn span_within(limit: Option<usize>, rows: Partition, cols: Partition) -> Result<usize, Error> {
    let widest = SPAN.max(cols.block).min(cols.len);
    let Some(limit) = limit else { return Ok(widest) };
    let mut width = widest;
    while working_memory(rows, cols, width) > limit && width > cols.block {
        width = (width - cols.block).max(cols.block);
    }
    let needed = working_memory(rows, cols, width);
    if needed > limit {
        return Err(Error::MemoryLimit { limit, needed, rows: rows.len, cols: cols.len });
    }
    Ok(width)
}

/// Bytes that a coupled descent takes on top of a separable one, at spans of `width` columns.
fn working_memory(rows: Partition, cols: Partition, width: usize) -> usize {
    let (m, k) = (rows.len, cols.len);
    // Ω in f64 beside L, and a panel of 128 columns, while it is factored; then L, three matrices of the weight's size
    // and the spans' own.
    let factoring = 12 * k * k + 8 * 128 * k;
    let running = 4 * (k * k + 3 * m * k + width * (k + width) + 2 * m * width + 3 * k * cols.block);
    factoring.max(running)
}
