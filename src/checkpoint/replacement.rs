//! Other factors for a finished layer, such as those that a program has trained further.

use super::calibration::MeasuredLayer;
use super::context::JobContext;
use super::error::CheckpointError;
use super::layer_part::LayerPart;
use crate::error::Error;
use crate::result::factorization::Factorization;

impl JobContext {
    /// Keeps other factors of a finished layer in the place of its own.
    pub fn replace_layer(&self, index: usize, factors: &Factorization) -> Result<(), CheckpointError> {
        let layer = &self.selection.layers[index];
        if self.is_finished() {
            let problem = format!("layer {index}, {}, cannot be replaced any more: the job is finished", layer.name);
            return Err(CheckpointError::Unfinished { problem });
        }
        if !self.folder.has_layer(index) {
            return Err(self.not_done(index));
        }
        let LayerPart { result, inputs, measured } = self.part(index)?;
        check_alike(&result, factors).map_err(|error| self.in_layer(index, error))?;
        // Refused before anything is written: a value that the dtype cannot hold.
        self.stored(index, factors.clone())?;
        let measured = measured.map(|measured| MeasuredLayer {
            loss: factors.loss(),
            report: measured.report.replaced(),
            ..measured
        });
        self.keep_part(index, &LayerPart { result: factors.clone(), inputs, measured })
    }
}

/// Refuses factors of another shape, pattern or other blocks than those that they replace.
fn check_alike(result: &Factorization, factors: &Factorization) -> Result<(), Error> {
    let sizes = |of: &Factorization| [("factors' rows", of.core().rows()), ("factors' columns", of.core().cols())];
    for ((argument, expected), (_, found)) in sizes(result).into_iter().zip(sizes(factors)) {
        if found != expected {
            return Err(Error::Length { argument, found, expected });
        }
    }
    let shape = |of: &Factorization| {
        let blocks = [("left_block", of.left().block_size()), ("right_block", of.right().block_size())];
        let [left, right] = blocks.map(|(name, size)| (name, size.to_string()));
        [left, right, ("pattern", of.core().pattern().to_string())]
    };
    for ((name, expected), (_, value)) in shape(result).into_iter().zip(shape(factors)) {
        if value != expected {
            return Err(Error::Option { name, value, expected: "that of the layer" });
        }
    }
    Ok(())
}
