//! The run of one layer: under the Hessian of the job's files, or under what the caller knows of the layer's inputs.

use super::calibration::{Calibration, CalibrationKind, CallerReport, MeasuredLayer, digest_of_pairs};
use super::context::JobContext;
use super::error::CheckpointError;
use super::layer_part::LayerPart;
use super::source::LayerDigests;
use super::stored_layer::StoredLayer;
use crate::descent::run::Descent;
use crate::input::hessian::Hessian;
use crate::input::layer::Layer;
use crate::input::pair_moments::PairMoments;
use crate::result::factorization::Factorization;
use crate::result::record::StopReason;

impl JobContext {
    /// Compresses layer `index` and keeps the result, unless the layer is done. The job has files of Hessians where there
    /// is no calibration, and none where there is one.
    pub fn run_layer(
        &self,
        index: usize,
        calibration: Option<Calibration<'_>>,
        descent: Descent<'_>,
    ) -> Result<(), CheckpointError> {
        // Before the descent: a folder that cannot be written must not cost a finished layer.
        if self.is_done(index) || !self.begin()? {
            return Ok(());
        }
        match calibration {
            None => self.run_on_file(index, descent),
            Some(Calibration::Hessian { hessian, tokens }) => self.run_on_hessian(index, (hessian, tokens), descent),
            Some(Calibration::Pairs(pairs)) => self.run_on_pairs(index, pairs, descent),
        }
    }

    fn run_on_file(&self, index: usize, descent: Descent<'_>) -> Result<(), CheckpointError> {
        let part = self.with_layer(index, |loaded| {
            let inputs = loaded.digests();
            self.check_inputs(index, &inputs)?;
            Ok(LayerPart { result: self.descend(index, &loaded.layer, descent)?, inputs, measured: None })
        })?;
        self.keep_part(index, &part)?;
        // A value that the dtype cannot hold is better found now than when the job is finished.
        self.stored(index, part.result).map(|_| ())
    }

    fn run_on_hessian(
        &self,
        index: usize,
        (hessian, tokens): (&Hessian, u64),
        descent: Descent<'_>,
    ) -> Result<(), CheckpointError> {
        let part = self.with_layer_under(index, hessian.clone(), |loaded| {
            let (layer, inputs) = (&loaded.layer, loaded.digests());
            let options = &self.selection.layers[index].options;
            self.check_inputs(index, &inputs)?;
            let result = self.descend(index, layer, descent)?;
            let stored = self.stored(index, result.clone())?;
            let (loss, output_error) =
                self.in_pool(index, || Ok((stored.loss(layer, options)?, stored.output_error(layer))))?;
            let report = CallerReport {
                calibration: CalibrationKind::Hessian,
                output_error: Some(output_error),
                drift: None,
                irreducible: None,
                correction_ridge: None,
                replaced: false,
            };
            Ok(LayerPart { result, inputs, measured: Some(MeasuredLayer { tokens, loss, report }) })
        })?;
        self.keep_part(index, &part)
    }

    fn run_on_pairs(&self, index: usize, pairs: &PairMoments, descent: Descent<'_>) -> Result<(), CheckpointError> {
        let part = self.with_layer_under(index, pairs.hessian().clone(), |loaded| {
            let inputs = LayerDigests { weight: loaded.weight_digest(), calibration: digest_of_pairs(pairs) };
            self.check_inputs(index, &inputs)?;
            let weight = || loaded.layer.weight().clone();
            let options = self.settings.correction_options();
            let correction = self.in_pool(index, || pairs.correct(weight(), &options))?;
            let corrected = self.in_pool(index, || Layer::new(&correction.weight, pairs.hessian().clone()))?;
            let result = self.descend(index, &corrected, descent)?;
            let stored = self.stored(index, result.clone())?;
            let (loss, output_error) = self.in_pool(index, || {
                let loss = stored.loss(&corrected, &self.selection.layers[index].options)?;
                Ok((loss, pairs.output_error(weight(), &stored.dense().view())?))
            })?;
            let finite = |value: f64| value.is_finite().then_some(value);
            let report = CallerReport {
                calibration: CalibrationKind::Pairs,
                output_error: finite(output_error),
                drift: finite(correction.drift),
                irreducible: finite(correction.irreducible),
                correction_ridge: Some(correction.ridge),
                replaced: false,
            };
            let measured = MeasuredLayer { tokens: pairs.tokens(), loss, report };
            Ok(LayerPart { result, inputs, measured: Some(measured) })
        })?;
        self.keep_part(index, &part)
    }

    /// Factorises a layer.
    fn descend(&self, index: usize, layer: &Layer<'_>, descent: Descent<'_>) -> Result<Factorization, CheckpointError> {
        let result = self.in_pool(index, || descent.run(layer))?;
        match result.stop_reason() {
            StopReason::Cancelled => Err(CheckpointError::Cancelled),
            _ => Ok(result),
        }
    }

    /// Rounds a result to what is stored of it.
    pub fn stored(&self, index: usize, result: Factorization) -> Result<StoredLayer, CheckpointError> {
        self.in_pool(index, || StoredLayer::new(result, &self.selection.layers[index], self.settings.format))
    }

    /// Writes the result of a layer.
    pub fn keep_part(&self, index: usize, part: &LayerPart) -> Result<(), CheckpointError> {
        let stem = self.selection.layers[index].stem();
        self.keep_layer(index, &part.to_bytes(stem, self.fingerprint.digest())?)
    }
}
