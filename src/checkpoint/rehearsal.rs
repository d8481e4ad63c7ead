//! What rounding to a number type does to a layer, found before the layer runs: a pruned layer is stored as the job would
//! store the result.

use super::context::JobContext;
use super::error::CheckpointError;
use super::source::LoadedLayer;
use super::stored_layer::StoredLayer;
use crate::descent::options::{Objective, Options};
use crate::descent::run::Descent;
use crate::error::Error;
use crate::factors::precision::Precision;
use crate::input::layer::Layer;
use crate::result::formats::format::Format;

/// A layer whose loss grows by more than this share, through rounding alone, gets a warning.
const SHARE: f64 = 0.01;

/// The relative distance of neighbouring f16 numbers, whose square is a loss that rounding costs in any case.
const STEP: f64 = half::f16::EPSILON.to_f64_const();

impl JobContext {
    /// Prunes a layer, rounds the result, and compares the losses. Returns a warning where the number type cannot hold
    /// the small values.
    ///
    /// Only f16 has a smaller range than the weights may have, and only where the settings choose it: a weight's own type
    /// holds it. In either case a weight near the end of the range gets a warning, because the product of the factors may
    /// exceed the weight.
    ///
    /// # Errors
    /// [`CheckpointError::InTensor`] with [`Error::Overflow`] where the type cannot hold the large values.
    pub fn rehearse(&self, index: usize, loaded: &LoadedLayer<'_>) -> Result<Option<String>, CheckpointError> {
        let layer = &self.selection.layers[index];
        let chosen = self.settings.dtype.map(|dtype| [dtype.left, dtype.core, dtype.right]);
        if !chosen.is_some_and(|types| types.contains(&Precision::F16)) {
            return Ok(self.near_the_end(index, loaded));
        }
        let options = layer.options.clone().objective(Objective::Diagonal);
        let (exact, stored) = self.in_pool(index, || self.losses(index, loaded, &options))?;
        let is_lossy = stored > (1.0 + SHARE) * exact + STEP * STEP;
        let lossy = is_lossy.then(|| {
            format!(
                "{}: its values are too small for f16: rounding alone raises the loss of the pruned weight from {exact:.3e} \
                 to {stored:.3e}; choose bf16",
                layer.name
            )
        });
        Ok(lossy.or_else(|| self.near_the_end(index, loaded)))
    }

    /// A warning where the product of the factors may exceed the range of f16.
    fn near_the_end(&self, index: usize, loaded: &LoadedLayer<'_>) -> Option<String> {
        let layer = &self.selection.layers[index];
        if self.settings.format != Format::Reconstructed || layer.dtype.core != Precision::F16 {
            return None;
        }
        let (largest, end) = (largest_magnitude(&loaded.layer), half::f16::MAX.to_f32());
        let name = &layer.name;
        (largest > end / 2.0)
            .then(|| format!("{name}: has values up to {largest:.0}, and f16 ends at {end:.0}; choose bf16"))
    }

    /// The losses of the pruned layer, before and after rounding.
    fn losses(&self, index: usize, loaded: &LoadedLayer<'_>, options: &Options) -> Result<(f64, f64), Error> {
        let pruned = Descent::new(options)?.prune(&loaded.layer)?;
        let exact = pruned.loss();
        let stored = StoredLayer::new(pruned, &self.selection.layers[index], self.settings.format)?;
        Ok((exact, stored.loss(&loaded.layer, options)?))
    }
}

/// The largest magnitude of a weight.
fn largest_magnitude(layer: &Layer<'_>) -> f32 {
    let mut row = vec![0.0; layer.cols()];
    let of_row = |i: usize| {
        layer.weight().copy_row(i, 0..layer.cols(), &mut row);
        row.iter().fold(0.0_f32, |most, value| most.max(value.abs()))
    };
    (0..layer.rows()).map(of_row).fold(0.0, f32::max)
}
