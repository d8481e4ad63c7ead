//! The loss that stands in for the network's own: which errors of Ŵ count, and how much.

use crate::{Error, Layer, Normalization};

/// A separable loss Σ_ij d_j (W̄_ij − Ŵ̄_ij)², given by its [`Normalization`].
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
}

/// The paper's proxy loss (section 3): NoWag's row and column scales, weighted by the Hessian's diagonal.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWagLoss;

impl ProxyLoss for NoWagLoss {
    fn normalize(&self, layer: &Layer<'_>) -> Result<Normalization, Error> {
        Ok(Normalization::nowag(layer))
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
