//! What the caller of a job knows of a layer's inputs, and what is kept of it once the layer is done.

use serde::{Deserialize, Serialize};

use crate::input::hessian::Hessian;

/// What a caller knows of the inputs of one layer, for [`super::Job::run_layer_on`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Calibration<'a> {
    /// The Hessian of the inputs that the layer gets.
    Hessian {
        /// The Hessian of as many inputs as the layer has.
        hessian: &'a Hessian,
        /// The number of tokens that the Hessian is the mean of, which the report repeats.
        tokens: u64,
    },
}

/// Which kind of calibration a layer had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CalibrationKind {
    Hessian,
}

/// What is said of a layer in the report only where the caller has calibrated it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(super) struct CallerReport {
    pub calibration: CalibrationKind,
    /// What is lost of the layer's outputs: tr((W − Ŵ) H (W − Ŵ)ᵀ) / tr(W H Wᵀ), where Ŵ is what is stored.
    pub output_error: f64,
}

/// What can be measured of a layer only while its caller's calibration is there. The part of the layer keeps it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(super) struct MeasuredLayer {
    pub tokens: u64,
    /// The relative proxy loss of what is stored.
    pub loss: f64,
    #[serde(flatten)]
    pub report: CallerReport,
}
