//! What the caller of a job knows of a layer's inputs, and what is kept of it once the layer is done.

use serde::{Deserialize, Serialize};

use super::digest::Sum;
use crate::input::hessian::Hessian;
use crate::input::pair_moments::PairMoments;

/// What a caller knows of the inputs of one layer, for [`super::Job::run_layer_on`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Calibration<'a> {
    /// The Hessian of the inputs that the layer gets: the layer's own weight is factorised under it.
    Hessian {
        /// The Hessian of as many inputs as the layer has.
        hessian: &'a Hessian,
        /// The number of tokens that the Hessian is the mean of, which the report repeats.
        tokens: u64,
    },
    /// Pairs of the inputs that the layer gets in the dense model and in the compressed one. The weight that makes up for
    /// their difference, [`PairMoments::correct`], is factorised under the Hessian of the latter. The settings
    /// [`super::JobSettings::correction`] and [`super::JobSettings::correction_ridge`] say how much is corrected.
    Pairs(&'a PairMoments),
}

/// Which kind of calibration a layer had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CalibrationKind {
    Hessian,
    Pairs,
}

/// What is said of a layer in the report only where the caller has calibrated it. The last three are of pairs. A number is
/// absent where it is infinite, because the outputs of the dense layer are zero.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(super) struct CallerReport {
    pub calibration: CalibrationKind,
    /// E‖W x − Ŵ x̂‖² / E‖W x‖², where Ŵ is what is stored: of a Hessian tr((W − Ŵ) H (W − Ŵ)ᵀ) / tr(W H Wᵀ).
    pub output_error: Option<f64>,
    /// E‖W x − W x̂‖² / E‖W x‖²: what the layer loses if it is neither corrected nor compressed.
    pub drift: Option<f64>,
    /// The least output error that any weight has.
    pub irreducible: Option<f64>,
    /// The ridge that was really used, relative to the mean of the diagonal of Ĥ.
    pub correction_ridge: Option<f64>,
    /// Whether the caller has put other factors in the place of those that were computed; the losses are then those that
    /// the factors were recorded with.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replaced: bool,
}

impl CallerReport {
    /// The same of other factors, whose output error nobody has measured.
    pub fn replaced(self) -> Self {
        CallerReport { output_error: None, replaced: true, ..self }
    }
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

/// Hashes all three moments of pairs.
pub(super) fn digest_of_pairs(pairs: &PairMoments) -> String {
    let (mut sum, mut row) = (Sum::new(), vec![0.0; pairs.inputs()]);
    for index in 0..pairs.inputs() {
        for write in [PairMoments::write_hessian, PairMoments::write_differences, PairMoments::write_cross] {
            write(pairs, index, &mut row);
            sum.add(bytemuck::cast_slice(&row));
        }
    }
    sum.text()
}
