//! The weight that a finished layer has from now on, whether its part is there or the whole output.

use ndarray::Array2;

use super::context::JobContext;
use super::error::{CheckpointError, file_error, tensor_error};
use super::output_files::output_name;
use super::selected_tensor::SelectedTensor;
use super::shard::Shard;
use super::source::view;
use crate::error::Error;
use crate::result::factorization::Factorization;
use crate::result::formats::format::Format;

impl JobContext {
    /// Returns the factors of a finished layer: as they were computed, or, once the job is finished, as they are stored.
    pub fn layer_factors(&self, index: usize) -> Result<Factorization, CheckpointError> {
        if self.folder.has_layer(index) {
            match self.part(index) {
                // Another process may have finished the job since the check above, and removed the part.
                Err(CheckpointError::Io { .. }) if self.is_finished() => {}
                part => return Ok(part?.result),
            }
        }
        let layer = &self.selection.layers[index];
        if !self.is_finished() {
            return Err(CheckpointError::Unfinished { problem: format!("layer {index}, {}, is not done", layer.name) });
        }
        let shard = Shard::open(&self.settings.out.join(&*output_name(&layer.file, self.settings.format)))?;
        match self.settings.format {
            Format::Factors => factors_of(&shard, layer),
            other => {
                let problem = format!("is stored in the format {other}, whose factors are not read back");
                Err(tensor_error(&shard.name(), &layer.name, problem))
            }
        }
    }

    /// Returns A · S · B of a finished layer as it is stored, m × k.
    pub fn layer_weight(&self, index: usize) -> Result<Array2<f32>, CheckpointError> {
        if self.folder.has_layer(index) {
            match self.part(index) {
                // Another process may have finished the job since the check above, and removed the part.
                Err(CheckpointError::Io { .. }) if self.is_finished() => {}
                part => {
                    let stored = self.stored(index, part?.result)?;
                    return Ok(self.install(|| stored.dense().into_owned()));
                }
            }
        }
        let layer = &self.selection.layers[index];
        if !self.is_finished() {
            return Err(CheckpointError::Unfinished { problem: format!("layer {index}, {}, is not done", layer.name) });
        }
        let shard = Shard::open(&self.settings.out.join(&*output_name(&layer.file, self.settings.format)))?;
        match self.settings.format {
            Format::Factors => self.product_of(&shard, layer),
            Format::Reconstructed => dense(&shard, layer),
            other => {
                let problem =
                    format!("is stored in the format {other}, which is not read back once the job is finished");
                Err(tensor_error(&shard.name(), &layer.name, problem))
            }
        }
    }

    fn product_of(&self, shard: &Shard, layer: &SelectedTensor) -> Result<Array2<f32>, CheckpointError> {
        let factors = factors_of(shard, layer)?;
        Ok(self.install(|| factors.reconstruct()))
    }
}

fn factors_of(shard: &Shard, layer: &SelectedTensor) -> Result<Factorization, CheckpointError> {
    let file = shard.whole()?;
    let factors = Factorization::from_safetensors(file.as_slice(), layer.stem()).map_err(|error| match error {
        Error::Bytes { key, problem } => tensor_error(&shard.name(), &key, problem),
        other => other.into(),
    })?;
    check_shape(shard, layer, (factors.core().rows(), factors.core().cols()))?;
    Ok(factors)
}

/// Reads a dense weight.
fn dense(shard: &Shard, layer: &SelectedTensor) -> Result<Array2<f32>, CheckpointError> {
    let fits = shard.info(&layer.tensor).is_some_and(|info| {
        let slices = usize::from(layer.slice.is_some());
        let is_there = layer.slice.is_none_or(|slice| info.shape.first().is_some_and(|&count| slice < count));
        info.dtype == layer.dtype.core.dtype() && info.shape.len() == slices + 2 && is_there
    });
    if !fits {
        let problem = format!("{} is not there as the job wrote it", layer.tensor);
        return Err(file_error(shard.path(), problem));
    }
    let tensor = shard.tensor(&layer.tensor, layer.slice)?;
    let weight = view(&tensor, layer.transposed);
    check_shape(shard, layer, weight.dim())?;
    let mut dense = Array2::zeros((layer.rows, layer.cols));
    for (index, mut row) in dense.rows_mut().into_iter().enumerate() {
        weight.copy_row(index, 0..layer.cols, row.as_slice_mut().expect("rows of a new array are contiguous"));
    }
    Ok(dense)
}

/// Refuses an output whose layer has another shape.
fn check_shape(shard: &Shard, layer: &SelectedTensor, (rows, cols): (usize, usize)) -> Result<(), CheckpointError> {
    if (rows, cols) == (layer.rows, layer.cols) {
        return Ok(());
    }
    let problem = format!("is {rows} × {cols}, expected {} × {}", layer.rows, layer.cols);
    Err(tensor_error(&shard.name(), &layer.name, problem))
}
