//! The run of one layer: under the Hessian of the job's files, or under what the caller knows of the layer's inputs.

use super::calibration::{Calibration, CalibrationKind, CallerReport, MeasuredLayer};
use super::context::JobContext;
use super::error::CheckpointError;
use super::layer_part::LayerPart;
use super::source::{LayerDigests, LoadedLayer};
use super::stored_layer::StoredLayer;
use crate::descent::run::Descent;
use crate::error::Error;
use crate::input::hessian::Hessian;
use crate::input::layer::Layer;
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
        }
    }

    fn run_on_file(&self, index: usize, descent: Descent<'_>) -> Result<(), CheckpointError> {
        let (result, inputs) = self.with_layer(index, |loaded| self.descend(index, loaded, descent))?;
        let part = LayerPart { result, inputs, measured: None };
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
            let (result, inputs) = self.descend(index, loaded, descent)?;
            let stored = self.stored(index, result.clone())?;
            let (loss, output_error) = self.measured(index, &stored, &loaded.layer)?;
            let report = CallerReport { calibration: CalibrationKind::Hessian, output_error };
            Ok(LayerPart { result, inputs, measured: Some(MeasuredLayer { tokens, loss, report }) })
        })?;
        self.keep_part(index, &part)
    }

    /// Factorises a layer whose inputs are those that the job began with.
    fn descend(
        &self,
        index: usize,
        loaded: &LoadedLayer<'_>,
        descent: Descent<'_>,
    ) -> Result<(Factorization, LayerDigests), CheckpointError> {
        let digests = loaded.digests();
        self.check_inputs(index, &digests)?;
        let result = self.install(|| descent.run(&loaded.layer)).map_err(|error| self.in_layer(index, error))?;
        match result.stop_reason() {
            StopReason::Cancelled => Err(CheckpointError::Cancelled),
            _ => Ok((result, digests)),
        }
    }

    /// Rounds a result to what is stored of it.
    pub fn stored(&self, index: usize, result: Factorization) -> Result<StoredLayer, CheckpointError> {
        let layer = &self.selection.layers[index];
        let stored = self.install(|| StoredLayer::new(result, layer, self.settings.format));
        stored.map_err(|error| self.in_layer(index, error))
    }

    /// Measures the relative proxy loss and the output error of what is stored.
    fn measured(&self, index: usize, stored: &StoredLayer, layer: &Layer<'_>) -> Result<(f64, f64), CheckpointError> {
        let measured =
            self.install(|| Ok::<_, Error>((stored.loss(layer, &self.options)?, stored.output_error(layer))));
        measured.map_err(|error| self.in_layer(index, error))
    }

    fn keep_part(&self, index: usize, part: &LayerPart) -> Result<(), CheckpointError> {
        let stem = self.selection.layers[index].stem();
        self.keep_layer(index, &part.to_bytes(stem, self.fingerprint.digest())?)
    }
}
