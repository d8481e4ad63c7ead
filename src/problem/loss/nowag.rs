//! The paper's proxy loss.

use crate::error::Error;
use crate::input::layer::Layer;
use crate::problem::loss::proxy_loss::ProxyLoss;
use crate::problem::normalization::Normalization;

/// The paper's proxy loss (section 3): NoWag's row and column scales, weighted by the Hessian's diagonal.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWagLoss;

impl ProxyLoss for NoWagLoss {
    fn normalize(&self, layer: &Layer<'_>) -> Result<Normalization, Error> {
        Ok(Normalization::nowag(layer))
    }
}
