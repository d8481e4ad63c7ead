//! From the layer to the whitened target of the descent, and back from its factors to the caller's weight.

use std::ops::Range;

use ndarray::ArrayView2;
use rayon::prelude::*;

use crate::error::Error;
use crate::factors::block_diagonal::BlockDiagonal;
use crate::factors::partition::Partition;
use crate::factors::pattern::Pattern;
use crate::factors::sparse_core::SparseCore;
use crate::factors::triple::Factors;
use crate::input::hessian::Hessian;
use crate::input::layer::Layer;
use crate::problem::correlation::Correlation;
use crate::problem::coupling::Coupling;
use crate::problem::normalization::Normalization;
use crate::problem::proxy_loss::loss::ProxyLoss;

/// What the descent approximates: the whitened weight Y = W̄ diag(√d), m × k, for which the proxy loss is
/// ‖Y − A S B̃‖²_F with B̃ = B diag(√d).
///
/// Whitening is undone by a division, so its roots √d are positive: an importance below 10⁻¹² of the mean is raised to
/// that. In the descent an input of importance 0 thus counts as one of 10⁻¹², which is less than the precision of f32;
/// the losses of a result weigh it with 0.
///
/// Stored in column panels, one for each block of the right wrapper, each panel row-major.
#[derive(Clone, Debug)]
pub struct Target {
    normalization: Normalization,
    roots: Vec<f64>,
    hessian: Hessian,
    rows: Partition,
    cols: Partition,
    pattern: Pattern,
    values: Vec<f32>,
    energy: f64,
    coupling: Option<Coupling>,
}

impl Target {
    /// Whitens a layer under a loss for blocks of `left` rows and `right` columns, coupled where the loss is.
    ///
    /// # Errors
    /// What the loss returns; [`Error::Length`], [`Error::NotPositive`], [`Error::Negative`] or [`Error::AllZero`] where
    /// its weights do not fit the layer; [`Error::MemoryLimit`].
    pub(crate) fn for_loss(
        layer: &Layer<'_>,
        loss: &dyn ProxyLoss,
        blocks: (usize, usize),
        pattern: Pattern,
        memory_limit: Option<usize>,
    ) -> Result<Self, Error> {
        let of_loss = |error| Error::of_part("proxy_loss", error);
        let mut target = Target::new(layer, loss.normalize(layer).map_err(of_loss)?, blocks, pattern)?;
        if let Some(correlation) = loss.correlation(layer).map_err(of_loss)? {
            target.couple(&correlation, memory_limit)?;
        }
        Ok(target)
    }

    /// Whitens a layer for blocks of `left` rows and `right` columns.
    ///
    /// # Errors
    /// As [`Normalization::check`] where the normalization does not fit the layer.
    fn new(
        layer: &Layer<'_>,
        mut normalization: Normalization,
        (left, right): (usize, usize),
        pattern: Pattern,
    ) -> Result<Self, Error> {
        normalization.check(layer)?;
        let rows = Partition::new(layer.rows(), left);
        let cols = Partition::new(layer.cols(), right);
        let mut roots = normalization.roots();
        let mut values = vec![0.0; layer.rows() * layer.cols()];
        let mut energy = whiten(layer, (&normalization, &roots), (rows, cols), &mut values);
        if !is_ordinary(energy, values.len()) {
            normalization = normalization.rescaled(layer)?;
            roots = normalization.roots();
            energy = whiten(layer, (&normalization, &roots), (rows, cols), &mut values);
        }
        let hessian = layer.hessian().clone();
        Ok(Target { normalization, roots, hessian, rows, cols, pattern, values, energy, coupling: None })
    }

    /// Couples the errors, in no more working memory than the limit.
    fn couple(&mut self, correlation: &Correlation, limit: Option<usize>) -> Result<(), Error> {
        if correlation.matrix().len() != self.cols.len {
            let (found, expected) = (correlation.matrix().len(), self.cols.len);
            return Err(Error::Inputs { argument: "correlation", found, expected });
        }
        // With α = 1 Ω is the identity, and the loss separable.
        if correlation.shrinkage() == 1.0 {
            return Ok(());
        }
        let coupling = Coupling::new(correlation, limit, (self.rows, self.cols), |row, out| {
            for b in 0..self.cols.count() {
                let width = self.cols.size(b);
                out[self.cols.range(b)].copy_from_slice(&self.panel(b)[row * width..(row + 1) * width]);
            }
        })?;
        self.energy = coupling.energy();
        self.coupling = Some(coupling);
        Ok(())
    }

    /// Output features, m.
    pub fn rows(&self) -> usize {
        self.rows.len
    }

    /// Input features, k.
    pub fn cols(&self) -> usize {
        self.cols.len
    }

    /// The sparsity pattern of the core.
    pub fn pattern(&self) -> Pattern {
        self.pattern
    }

    /// The loss at Ŵ = 0, ‖Y‖², or tr(Y Ω Yᵀ) where errors couple; reported losses are divided by it.
    pub fn energy(&self) -> f64 {
        self.energy
    }

    /// Whether errors at different inputs couple: the loss is then tr(E Ω Eᵀ) for E = Y − A S B̃.
    pub fn is_coupled(&self) -> bool {
        self.coupling.is_some()
    }

    /// Refuses a coupled loss for a part that knows separable ones only.
    pub(crate) fn check_separable(&self, part: &'static str) -> Result<(), Error> {
        if self.is_coupled() { Err(Error::Coupled { part }) } else { Ok(()) }
    }

    /// Ω and its Cholesky factor, where errors couple.
    pub fn coupling(&self) -> Option<&Coupling> {
        self.coupling.as_ref()
    }

    /// The loss's scales and importances.
    pub fn normalization(&self) -> &Normalization {
        &self.normalization
    }

    /// The roots √d of the importances, all positive, that Y and B̃ are whitened with: length k.
    pub fn roots(&self) -> &[f64] {
        &self.roots
    }

    /// Entry (row, col) of the whitened weight Y.
    ///
    /// # Panics
    /// If it lies outside the matrix.
    pub fn whitened(&self, row: usize, col: usize) -> f32 {
        let b = col / self.cols.block;
        self.panel(b)[row * self.cols.size(b) + col - self.cols.start(b)]
    }

    /// Entry (row, col) of the caller's weight W, up to the rounding of Y to f32.
    ///
    /// # Panics
    /// If it lies outside the matrix.
    pub fn weight(&self, row: usize, col: usize) -> f64 {
        let Normalization { rows, cols, .. } = &self.normalization;
        f64::from(self.whitened(row, col)) * rows[row] * cols[col] / self.roots[col]
    }

    /// Entry (row, col) of the normalised weight W̄ = Y diag(1 / √d).
    ///
    /// # Panics
    /// If it lies outside the matrix.
    pub fn normalized(&self, row: usize, col: usize) -> f32 {
        (f64::from(self.whitened(row, col)) / self.roots[col]) as f32
    }

    /// The Hessian of the layer's inputs.
    pub fn hessian(&self) -> &Hessian {
        &self.hessian
    }

    /// The rows, cut into the blocks of the left wrapper.
    pub fn row_blocks(&self) -> Partition {
        self.rows
    }

    /// The columns, cut into the blocks of the right wrapper.
    pub fn col_blocks(&self) -> Partition {
        self.cols
    }

    /// Panel `b`: the m rows of column block `b`, row-major.
    pub(crate) fn panel(&self, b: usize) -> &[f32] {
        let start = self.cols.start(b) * self.rows.len;
        &self.values[start..start + self.rows.len * self.cols.size(b)]
    }

    /// Block (a, b) of Y: the rows of row block a, the columns of column block b.
    ///
    /// # Panics
    /// If there is no such block.
    pub fn block(&self, a: usize, b: usize) -> ArrayView2<'_, f32> {
        let shape = (self.rows.size(a), self.cols.size(b));
        ArrayView2::from_shape(shape, self.blocks(a..a + 1, b)).expect("a block has as many entries as its shape")
    }

    /// Blocks (a, b) of Y for consecutive a, one below the other.
    pub(crate) fn blocks(&self, blocks: Range<usize>, b: usize) -> &[f32] {
        &self.values[self.block_range(blocks, b)]
    }

    /// Where blocks (a, b) for consecutive a lie in an array of column panels.
    pub(crate) fn block_range(&self, blocks: Range<usize>, b: usize) -> Range<usize> {
        let start = self.cols.start(b) * self.rows.len;
        let width = self.cols.size(b);
        start + self.rows.start(blocks.start) * width..start + self.rows.range(blocks.end - 1).end * width
    }

    /// A loss relative to its value at Ŵ = 0; 0 for a weight that is all zeros.
    pub(crate) fn relative(&self, loss: f64) -> f64 {
        if self.energy > 0.0 { loss / self.energy } else { 0.0 }
    }

    /// Turns whitened factors into those of the caller's weight, in place: A ← diag(r2) A / c, B ← c B̃ diag(r1 / √d).
    ///
    /// The power of two c gives both wrappers the same largest scale, so neither leaves f32's range.
    pub(crate) fn fold(&self, left: &mut BlockDiagonal, right: &mut BlockDiagonal) {
        let Normalization { rows, cols, .. } = &self.normalization;
        let largest = |scales: &[f64]| scales.iter().copied().fold(0.0, f64::max);
        let balance = ((largest(rows) / largest(cols)).log2() / 2.0).round().exp2();
        left.scale(|i| rows[i] / balance, |_| 1.0);
        right.scale(|_| 1.0, |j| cols[j] * balance / self.roots[j]);
    }

    /// The factors that a run starts from: identity wrappers (B̃ = diag(√d)) around a core of zeros that keeps the first
    /// N of every M entries.
    pub(crate) fn identity_factors(&self) -> Factors {
        Factors {
            left: BlockDiagonal::identity(self.rows.len, self.rows.block),
            core: SparseCore::zeros(self.rows.len, self.cols, self.pattern),
            right: BlockDiagonal::from_diagonal(&self.roots, self.cols.block),
        }
    }
}

/// Whether the mean of so many squares is far from the ends of f32's range.
fn is_ordinary(energy: f64, count: usize) -> bool {
    let mean = energy / count as f64;
    (2f64.powi(-40)..2f64.powi(40)).contains(&mean)
}

/// Fills Y by panels, given the loss's weights and the roots of the importances, and returns its sum of squares.
fn whiten(
    layer: &Layer<'_>,
    weights: (&Normalization, &[f64]),
    (rows, cols): (Partition, Partition),
    values: &mut [f32],
) -> f64 {
    let energies: Vec<f64> = values
        .par_chunks_mut(rows.len * cols.block)
        .enumerate()
        .map(|(b, panel)| whiten_panel(layer, weights, cols.range(b), panel))
        .collect();
    energies.iter().sum()
}

/// Fills one panel of Y and returns its sum of squares.
fn whiten_panel(
    layer: &Layer<'_>,
    (normalization, roots): (&Normalization, &[f64]),
    cols: Range<usize>,
    panel: &mut [f32],
) -> f64 {
    let scales: Vec<f64> = cols.clone().map(|j| roots[j] / normalization.cols[j]).collect();
    let mut energy = 0.0;
    for (i, row) in panel.chunks_exact_mut(cols.len()).enumerate() {
        layer.weight().copy_row(i, cols.clone(), row);
        for (value, scale) in row.iter_mut().zip(&scales) {
            *value = (f64::from(*value) * scale / normalization.rows[i]) as f32;
            energy += f64::from(*value).powi(2);
        }
    }
    energy
}
