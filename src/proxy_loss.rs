//! The loss that stands in for the network's own: which errors of Ŵ count, and how much.

use crate::{Error, Layer, Normalization};

/// A loss of the error Ē = W̄ − Ŵ̄: separable, Σ_ij d_j Ē_ij², as its [`Normalization`] says, or with errors at
/// different inputs coupled through the Hessian.
///
/// Give the descent another one with [`Descent::proxy_loss`](crate::Descent::proxy_loss):
///
/// ```
/// use armor_core::{Descent, Error, Hessian, Layer, Normalization, Options, ProxyLoss};
/// use ndarray::Array2;
///
/// /// NoWag's loss, with the first row ten times as important.
/// struct FirstRowMatters;
///
/// impl ProxyLoss for FirstRowMatters {
///     fn normalize(&self, layer: &Layer<'_>) -> Result<Normalization, Error> {
///         let mut normalization = Normalization::nowag(layer);
///         normalization.rows[0] /= 10_f64.sqrt();
///         Ok(normalization)
///     }
/// }
///
/// let weight = Array2::from_shape_fn((8, 16), |(i, j)| ((3 * i + 5 * j) % 7) as f32 - 3.0);
/// let layer = Layer::new(&weight, Hessian::identity(16))?;
/// let options = Options::exact().block(8).iterations(5);
/// let result = Descent::new(&options)?.proxy_loss(FirstRowMatters).run(&layer)?;
/// assert!(result.loss() <= result.nowag_p_loss());
/// # Ok::<(), Error>(())
/// ```
pub trait ProxyLoss: Send + Sync {
    /// Gives the loss's row scales, column scales and importances for a layer.
    ///
    /// # Errors
    /// Whatever makes the loss undefined for this layer. The descent itself refuses lengths that do not fit the
    /// layer and entries that are not positive.
    fn normalize(&self, layer: &Layer<'_>) -> Result<Normalization, Error>;

    /// Couples errors at different inputs: `None`, the default, for a separable loss; `Some(α)`, α from 0 to 1, for
    /// tr(Ē √D Ω √D Ēᵀ) with D the importances and Ω = (1 − α) corr(H) + α I. Needs a full Hessian.
    fn shrinkage(&self) -> Option<f64> {
        None
    }
}

/// The paper's proxy loss (section 3): NoWag's row and column scales, weighted by the Hessian's diagonal.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWagLoss;

impl ProxyLoss for NoWagLoss {
    fn normalize(&self, layer: &Layer<'_>) -> Result<Normalization, Error> {
        Ok(Normalization::nowag(layer))
    }
}

/// Which rows' errors count more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RowWeighting {
    /// Every row by NoWag's scale: an error counts relative to the size of its row.
    NoWag,
    /// All rows alike: the layer's own output error.
    None,
}

/// The output error under the whole Hessian, tr((W − Ŵ) H (W − Ŵ)ᵀ), rows weighted or not.
///
/// H is shrunk towards its diagonal by α, H ← (1 − α) H + α diag(H): what calibration says of the diagonal is more
/// certain than what it says of the rest. α = 1 is the separable case.
#[derive(Clone, Copy, Debug)]
pub struct FullOutputError {
    /// Shrinkage α, from 0 (H as it is) to 1 (its diagonal).
    pub shrinkage: f64,
    /// Which rows' errors count more.
    pub row_weighting: RowWeighting,
}

impl ProxyLoss for FullOutputError {
    fn normalize(&self, layer: &Layer<'_>) -> Result<Normalization, Error> {
        let plain = Normalization::plain(layer);
        match self.row_weighting {
            RowWeighting::NoWag => Ok(Normalization { rows: Normalization::nowag(layer).rows, ..plain }),
            RowWeighting::None => Ok(plain),
        }
    }

    fn shrinkage(&self) -> Option<f64> {
        Some(self.shrinkage)
    }
}

/// The layer's own output error Σ_ij d_j (W_ij − Ŵ_ij)², for inputs that are uncorrelated: no scales.
#[derive(Clone, Copy, Debug, Default)]
pub struct OutputError;

impl ProxyLoss for OutputError {
    fn normalize(&self, layer: &Layer<'_>) -> Result<Normalization, Error> {
        Ok(Normalization::plain(layer))
    }
}
