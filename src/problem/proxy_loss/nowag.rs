//! The paper's proxy loss.

use crate::error::BoxError;
use crate::input::layer::Layer;
use crate::problem::normalization::Normalization;
use crate::problem::proxy_loss::loss::ProxyLoss;

/// The paper's proxy loss (section 3): NoWag's row and column scales, weighted by the Hessian's diagonal.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWagLoss;

impl ProxyLoss for NoWagLoss {
    fn normalize(&self, layer: &Layer<'_>) -> Result<Normalization, BoxError> {
        Ok(Normalization::nowag(layer))
    }
}
