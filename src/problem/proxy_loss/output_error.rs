//! The layer's own output error, under the Hessian's diagonal or all of it.

use crate::error::{BoxError, Error};
use crate::input::hessian::HessianKind;
use crate::input::layer::Layer;
use crate::problem::correlation::Correlation;
use crate::problem::normalization::Normalization;
use crate::problem::proxy_loss::loss::ProxyLoss;

/// Which rows' errors count more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize), serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum RowWeighting {
    /// Every row is weighted by NoWag's scale: an error counts relative to the size of its row.
    NoWag,
    /// Every row has the weight 1: the layer's own output error.
    Uniform,
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
    fn normalize(&self, layer: &Layer<'_>) -> Result<Normalization, BoxError> {
        let plain = Normalization::plain(layer);
        match self.row_weighting {
            RowWeighting::NoWag => Ok(Normalization { rows: Normalization::nowag(layer).rows, ..plain }),
            RowWeighting::Uniform => Ok(plain),
        }
    }

    fn correlation(&self, layer: &Layer<'_>) -> Result<Option<Correlation>, BoxError> {
        if layer.hessian().kind() != HessianKind::Full {
            return Err(Error::HessianNotFull { needed_by: "the full objective" }.into());
        }
        Ok(Some(Correlation::new(layer.hessian(), self.shrinkage)?))
    }
}

/// The layer's own output error Σ_ij d_j (W_ij − Ŵ_ij)², for inputs that are uncorrelated: no scales.
#[derive(Clone, Copy, Debug, Default)]
pub struct OutputError;

impl ProxyLoss for OutputError {
    fn normalize(&self, layer: &Layer<'_>) -> Result<Normalization, BoxError> {
        Ok(Normalization::plain(layer))
    }
}
