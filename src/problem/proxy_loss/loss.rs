//! The loss that stands in for the network's own: which errors of Ŵ count, and how much.

use crate::error::BoxError;
use crate::input::layer::Layer;
use crate::problem::correlation::Correlation;
use crate::problem::normalization::Normalization;

/// A loss of the error Ē = W̄ − Ŵ̄: separable, Σ_ij d_j Ē_ij², as its [`Normalization`] says, or with errors at
/// different inputs coupled through the Hessian.
///
/// Give the descent another one with [`Descent::proxy_loss`](crate::Descent::proxy_loss):
///
/// ```
/// use armor_core::{BoxError, Descent, Error, Hessian, Layer, Normalization, Options, ProxyLoss};
/// use ndarray::Array2;
///
/// /// NoWag's loss, with the first row ten times as important.
/// struct FirstRowMatters;
///
/// impl ProxyLoss for FirstRowMatters {
///     fn normalize(&self, layer: &Layer<'_>) -> Result<Normalization, BoxError> {
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
    /// Gives the loss's row scales, column scales and importances for a layer. A common factor of any of the three does
    /// not matter: losses are relative to their value at Ŵ = 0. An input of importance 0 does not count.
    ///
    /// # Errors
    /// Whatever makes the loss undefined for this layer: the crate's own [`Error`](crate::Error) reaches the caller as
    /// it is, any other becomes the source of [`Error::Part`](crate::Error::Part). The descent itself refuses lengths
    /// that do not fit the layer, scales that are not positive, negative importances, and importances that are all zero.
    fn normalize(&self, layer: &Layer<'_>) -> Result<Normalization, BoxError>;

    /// Gives the matrix that couples errors at different inputs: `None`, the default, for a separable loss; Ω for
    /// tr(Ē √D Ω √D Ēᵀ), D the importances.
    ///
    /// # Errors
    /// As [`ProxyLoss::normalize`].
    fn correlation(&self, layer: &Layer<'_>) -> Result<Option<Correlation>, BoxError> {
        let _ = layer;
        Ok(None)
    }
}

impl<T: ProxyLoss + ?Sized> ProxyLoss for Box<T> {
    fn normalize(&self, layer: &Layer<'_>) -> Result<Normalization, BoxError> {
        (**self).normalize(layer)
    }

    fn correlation(&self, layer: &Layer<'_>) -> Result<Option<Correlation>, BoxError> {
        (**self).correlation(layer)
    }
}

impl<T: ProxyLoss + ?Sized> ProxyLoss for &T {
    fn normalize(&self, layer: &Layer<'_>) -> Result<Normalization, BoxError> {
        (**self).normalize(layer)
    }

    fn correlation(&self, layer: &Layer<'_>) -> Result<Option<Correlation>, BoxError> {
        (**self).correlation(layer)
    }
}
