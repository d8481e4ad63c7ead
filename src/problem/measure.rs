//! Losses as they are reported: of finished factors, in f64, against the layer itself.

use std::ops::Range;

use ndarray::{ArrayView2, s};
use rayon::prelude::*;

use crate::error::Error;
use crate::factors::partition::Partition;
use crate::factors::triple::Factors;
use crate::input::hessian::HessianKind;
use crate::input::layer::Layer;
use crate::kernels::linalg::{part_of, rows_of, set_product};
use crate::problem::coupling::Coupling;
use crate::problem::target::Target;

/// What replaces a weight.
pub(crate) enum Replacement<'a> {
    /// A S B.
    Factors(&'a Factors),
    /// A dense matrix, of which tasks take as many rows as these blocks have.
    Dense { values: ArrayView2<'a, f32>, rows: Partition },
}

impl Replacement<'_> {
    fn partition(&self) -> Partition {
        match self {
            Replacement::Factors(factors) => factors.left.partition(),
            Replacement::Dense { rows, .. } => *rows,
        }
    }

    /// Row block `a` in f64, p × k, row-major.
    fn rows(&self, a: usize) -> Vec<f64> {
        match self {
            Replacement::Factors(factors) => product_rows(factors, a),
            Replacement::Dense { values, rows } => {
                values.slice(s![rows.range(a), ..]).iter().map(|&x| f64::from(x)).collect()
            }
        }
    }
}

/// Relative proxy loss of what replaces the caller's own weight.
pub(crate) fn relative_loss(product: &Replacement<'_>, layer: &Layer<'_>, target: &Target) -> f64 {
    energies(product, layer, target).ratio()
}

/// What is lost in the proxy loss of what replaces the caller's own weight.
pub(crate) fn energies(product: &Replacement<'_>, layer: &Layer<'_>, target: &Target) -> Energies {
    let normalization = target.normalization();
    let weigh = |row: usize, col: usize| normalization.error_weight(row, col).sqrt();
    let coupled = |coupling: &Coupling, row: usize, out: &mut [f64]| {
        out.iter_mut().zip(coupling.exact_row(row)).for_each(|(out, value)| *out = value);
    };
    match target.coupling() {
        Some(coupling) => Energies::coupled(product, layer, weigh, |row, out| coupled(coupling, row, out)),
        None => Energies::separable(product, layer, |row, col| normalization.error_weight(row, col)),
    }
}

/// Refuses a layer of another shape than the factors'.
pub(crate) fn check_shape(factors: &Factors, layer: &Layer<'_>) -> Result<(), Error> {
    let (rows, cols) = (factors.core.rows(), factors.core.cols());
    for (argument, found, expected) in
        [("layer.weight rows", layer.rows(), rows), ("layer.weight columns", layer.cols(), cols)]
    {
        if found != expected {
            return Err(Error::Length { argument, found, expected });
        }
    }
    Ok(())
}

/// Relative output error tr((W − Ŵ) H (W − Ŵ)ᵀ) / tr(W H Wᵀ) under the layer's Hessian as it is, or the identity where
/// that is all zero.
pub(crate) fn output_error(product: &Replacement<'_>, layer: &Layer<'_>) -> f64 {
    let hessian = layer.hessian();
    let importance = hessian.importance();
    let energies = if hessian.kind() == HessianKind::Full && hessian.dead_inputs() < hessian.len() {
        Energies::coupled(
            product,
            layer,
            |_, _| 1.0,
            |row, out| {
                let values = hessian.row(row).expect("a full Hessian has rows");
                out.iter_mut().zip(values).for_each(|(out, &value)| *out = value.into());
            },
        )
    } else {
        Energies::separable(product, layer, |_, col| importance[col])
    };
    energies.ratio()
}

/// What is lost of W, and all of it, in some loss.
#[derive(Clone, Copy, Default)]
pub(crate) struct Energies {
    pub lost: f64,
    whole: f64,
}

impl Energies {
    /// The relative loss; 0 for a weight that is zero at every input that counts.
    pub fn ratio(self) -> f64 {
        // Only rounding takes the loss of a semi-definite matrix below zero.
        let rounded_below_zero = self.lost < 0.0;
        if self.whole > 0.0 && !rounded_below_zero { self.lost / self.whole } else { 0.0 }
    }

    /// Adds up terms in their order.
    fn sum(terms: Vec<Energies>) -> Self {
        let add =
            |sum: Energies, term: Energies| Energies { lost: sum.lost + term.lost, whole: sum.whole + term.whole };
        terms.into_iter().fold(Energies::default(), add)
    }

    /// Σ_ij weight_ij X_ij² for X = W − Ŵ and for X = W.
    fn separable(product: &Replacement<'_>, layer: &Layer<'_>, weight: impl Fn(usize, usize) -> f64 + Sync) -> Self {
        let bands: Vec<Band> = Band::all(product, 1).collect();
        let terms = bands.par_iter().map(|band| {
            let mut energies = Energies::default();
            let (errors, weights) = band.errors(product, layer, |_, _| 1.0);
            let cols = layer.cols();
            for (index, (error, w)) in errors.iter().zip(weights).enumerate() {
                let scale = weight(band.rows.start + index / cols, index % cols);
                energies.lost += scale * error * error;
                energies.whole += scale * w * w;
            }
            energies
        });
        Energies::sum(terms.collect())
    }

    /// tr(X M Xᵀ) for X_ij = scale_ij (W − Ŵ)_ij and for X_ij = scale_ij W_ij; `row_of` writes a row of the symmetric M.
    fn coupled(
        product: &Replacement<'_>,
        layer: &Layer<'_>,
        scale: impl Fn(usize, usize) -> f64 + Sync,
        row_of: impl Fn(usize, &mut [f64]) + Sync,
    ) -> Self {
        /// Enough rows for efficient products; one band is in memory at a time.
        const ROWS: usize = 128;
        let terms = Band::all(product, ROWS).map(|band| {
            let (errors, weights) = band.errors(product, layer, &scale);
            let form = |x: &[f64]| quadratic_form(x, layer.cols(), &row_of);
            Energies { lost: form(&errors), whole: form(&weights) }
        });
        Energies::sum(terms.collect())
    }
}

/// tr(X M Xᵀ) for a row-major X with k columns.
fn quadratic_form(x: &[f64], k: usize, row_of: &(impl Fn(usize, &mut [f64]) + Sync)) -> f64 {
    /// Rows of M that a task has in memory.
    const SPAN: usize = 64;
    let terms: Vec<f64> = (0..k.div_ceil(SPAN))
        .into_par_iter()
        .map(|span| {
            let cols = span * SPAN..k.min((span + 1) * SPAN);
            let mut matrix = vec![0.0; cols.len() * k];
            for (row, out) in cols.clone().zip(matrix.chunks_exact_mut(k)) {
                row_of(row, out);
            }
            let mut product = vec![0.0; x.len() / k * cols.len()];
            set_product(&mut product, rows_of(x, k), rows_of(&matrix, k).transpose());
            let rows = x.chunks_exact(k).zip(product.chunks_exact(cols.len()));
            rows.map(|(x, product)| x[cols.clone()].iter().zip(product).map(|(x, y)| x * y).sum::<f64>()).sum()
        })
        .collect();
    terms.iter().sum()
}

/// Consecutive row blocks that are measured together.
struct Band {
    blocks: Range<usize>,
    rows: Range<usize>,
}

impl Band {
    /// Bands of one block, or of as many as make `rows`.
    fn all(product: &Replacement<'_>, rows: usize) -> impl Iterator<Item = Band> + use<> {
        let partition = product.partition();
        let height = (rows / partition.block).max(1);
        (0..partition.count().div_ceil(height)).map(move |band| {
            let blocks = band * height..partition.count().min((band + 1) * height);
            let rows = partition.start(blocks.start)..partition.range(blocks.end - 1).end;
            Band { blocks, rows }
        })
    }

    /// W − Ŵ and W, both scaled, row-major.
    fn errors(
        &self,
        product: &Replacement<'_>,
        layer: &Layer<'_>,
        scale: impl Fn(usize, usize) -> f64,
    ) -> (Vec<f64>, Vec<f64>) {
        let k = layer.cols();
        let mut weights = vec![0.0; self.rows.len() * k];
        let mut errors = vec![0.0; weights.len()];
        let mut row = vec![0.0f32; k];
        let products: Vec<f64> = self.blocks.clone().flat_map(|a| product.rows(a)).collect();
        let rows = weights.chunks_exact_mut(k).zip(errors.chunks_exact_mut(k)).zip(products.chunks_exact(k));
        for (i, ((weights, errors), replaced)) in self.rows.clone().zip(rows) {
            layer.weight().copy_row(i, 0..k, &mut row);
            for j in 0..k {
                let scale = scale(i, j);
                weights[j] = scale * f64::from(row[j]);
                errors[j] = scale * (f64::from(row[j]) - replaced[j]);
            }
        }
        (errors, weights)
    }
}

/// Row block `a` of A S B in f64, p × k, row-major.
pub(crate) fn product_rows(Factors { left, core, right }: &Factors, a: usize) -> Vec<f64> {
    let to_f64 = |values: &[f32]| -> Vec<f64> { values.iter().map(|&x| f64::from(x)).collect() };
    let (rows, cols) = (left.partition().range(a), right.partition());
    let (p, k) = (rows.len(), cols.len);
    let left = to_f64(left.values(a));
    let mut out = vec![0.0; p * k];
    for b in 0..cols.count() {
        let q = cols.size(b);
        let mut dense = vec![0.0; p * q];
        core.expand(b, rows.clone(), &mut dense);
        let (mut half, mut product) = (vec![0.0; p * q], vec![0.0; p * q]);
        set_product(&mut half, rows_of(&left, p), rows_of(&to_f64(&dense), q));
        set_product(&mut product, part_of(&half, p, q, q), rows_of(&to_f64(right.values(b)), q));
        for (out, product) in out.chunks_exact_mut(k).zip(product.chunks_exact(q)) {
            out[cols.range(b)].copy_from_slice(product);
        }
    }
    out
}
