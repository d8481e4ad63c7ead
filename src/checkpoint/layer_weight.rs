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

/// Where the result of a finished layer is.
enum Finished {
    /// In the part of the layer: its factors as they were computed.
    Part(Factorization),
    /// In this shard of the output.
    Output(Shard),
}

impl JobContext {
    /// Returns the factors of a finished layer: as they were computed, or, once the job is finished, as they are stored.
    pub fn layer_factors(&self, index: usize) -> Result<Factorization, CheckpointError> {
        let layer = &self.selection.layers[index];
        match (self.finished(index)?, self.settings.format) {
            (Finished::Part(factors), _) => Ok(factors),
            (Finished::Output(shard), Format::Factors) => factors_of(&shard, layer),
            (Finished::Output(shard), other) => {
                let problem = format!("is stored in the format {other}, whose factors are not read back");
                Err(tensor_error(&shard.name(), &layer.name, problem))
            }
        }
    }

    /// Returns A · S · B of a finished layer as it is stored, m × k.
    pub fn layer_weight(&self, index: usize) -> Result<Array2<f32>, CheckpointError> {
        let layer = &self.selection.layers[index];
        match (self.finished(index)?, self.settings.format) {
            (Finished::Part(factors), _) => {
                let stored = self.stored(index, factors)?;
                Ok(self.install(|| stored.dense().into_owned()))
            }
            (Finished::Output(shard), Format::Factors) => {
                let factors = factors_of(&shard, layer)?;
                Ok(self.install(|| factors.reconstruct()))
            }
            (Finished::Output(shard), Format::Reconstructed) => dense(&shard, layer),
            (Finished::Output(shard), other) => {
                let problem =
                    format!("is stored in the format {other}, which is not read back once the job is finished");
                Err(tensor_error(&shard.name(), &layer.name, problem))
            }
        }
    }

    /// Finds the result of a layer, whether its part is there or the whole output.
    fn finished(&self, index: usize) -> Result<Finished, CheckpointError> {
        if self.folder.has_layer(index) {
            match self.part(index) {
                // Another process may have finished the job since the check above, and removed the part.
                Err(CheckpointError::Io { .. }) if self.is_finished() => {}
                part => return Ok(Finished::Part(part?.result)),
            }
        }
        if !self.is_finished() {
            return Err(self.not_done(index));
        }
        let file = &self.selection.layers[index].file;
        Shard::open(&self.settings.out.join(&*output_name(file, self.settings.format))).map(Finished::Output)
    }

    /// The error of a call that needs a layer which is not done.
    pub fn not_done(&self, index: usize) -> CheckpointError {
        let name = &self.selection.layers[index].name;
        CheckpointError::Unfinished { problem: format!("layer {index}, {name}, is not done") }
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
