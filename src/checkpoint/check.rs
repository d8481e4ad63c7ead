//! The checks of a job's content: of the inputs' values, of their digests, and of finished layers.

use super::context::JobContext;
use super::error::CheckpointError;
use super::input_digests::{InputDigests, InputKind};
use super::report;
use super::selected_tensor::SelectedTensor;
use super::source::{LayerDigests, LoadedLayer};

impl JobContext {
    /// Reads all inputs and finished layers; see [`super::Job::check_values`].
    pub fn check_values(&self, progress: &dyn Fn(usize, usize)) -> Result<(), CheckpointError> {
        let unfinished = if self.is_finished() { Ok(()) } else { self.check_unfinished(progress) };
        // Another process may have finished the job during the check, and removed the results.
        if self.is_finished() {
            report::check_content(&self.settings)?;
            progress(self.selection.layers.len(), self.selection.layers.len());
            return Ok(());
        }
        unfinished
    }

    fn check_unfinished(&self, progress: &dyn Fn(usize, usize)) -> Result<(), CheckpointError> {
        let (recorded, mut inputs) = (self.recorded()?, InputDigests::default());
        let (mut errors, mut warnings) = (Vec::new(), Vec::new());
        for (index, layer) in self.selection.layers.iter().enumerate() {
            match self.with_layer(index, |loaded| self.verified(index, loaded)) {
                Ok((digests, of_layer)) => {
                    inputs.add(layer, digests);
                    warnings.extend(of_layer);
                }
                Err(error @ CheckpointError::InTensor { .. }) => errors.push(error),
                Err(error) => return Err(error),
            }
            progress(index + 1, self.selection.layers.len());
        }
        if let Some(error) = CheckpointError::of_all(errors) {
            return Err(error);
        }
        inputs.add_copied(&self.checkpoint, &self.selection.copied)?;
        if let Some(recorded) = recorded {
            for (kind, tensor, digest) in inputs.iter() {
                self.check_unchanged((kind, tensor), recorded.get(kind, tensor), digest)?;
            }
        }
        // What is set already is of the same bytes.
        let _ = self.inputs.set(inputs);
        let _ = self.warnings.set(warnings);
        Ok(())
    }

    /// The digests of a layer's inputs, and what a user should know of their values. Refuses a result that was made from
    /// other inputs.
    fn verified(&self, index: usize, loaded: &LoadedLayer<'_>) -> Result<(LayerDigests, Vec<String>), CheckpointError> {
        let digests = loaded.digests();
        if self.folder.has_layer(index) {
            self.check_made_from(index, &self.part(index)?.inputs, &digests)?;
            return Ok((digests, Vec::new()));
        }
        let mut warnings: Vec<String> = self.rehearse(index, loaded)?.into_iter().collect();
        warnings.extend(self.selection.layers[index].warning_of_dead_inputs(loaded.layer.hessian().dead_inputs()));
        Ok((digests, warnings))
    }

    /// Refuses the inputs of a layer where they are not those that the job was begun with.
    pub fn check_inputs(&self, index: usize, digests: &LayerDigests) -> Result<(), CheckpointError> {
        let Some(recorded) = self.recorded()? else { return Ok(()) };
        let layer = &self.selection.layers[index];
        let weight = (InputKind::Checkpoint, layer.name.clone(), &digests.weight);
        let hessian = layer.hessian_key().map(|key| (InputKind::Hessian, key, &digests.calibration));
        for (kind, tensor, digest) in [weight].into_iter().chain(hessian) {
            self.check_unchanged((kind, &tensor), recorded.get(kind, &tensor), digest)?;
        }
        Ok(())
    }

    /// Refuses a result that was not made from these inputs. A calibration of the caller's is gone, and not compared.
    pub fn check_made_from(
        &self,
        index: usize,
        made_from: &LayerDigests,
        digests: &LayerDigests,
    ) -> Result<(), CheckpointError> {
        let layer = &self.selection.layers[index];
        self.check_unchanged((InputKind::Checkpoint, &layer.name), Some(&made_from.weight), &digests.weight)?;
        let Some(hessian) = layer.hessian_key() else { return Ok(()) };
        self.check_unchanged((InputKind::Hessian, &hessian), Some(&made_from.calibration), &digests.calibration)
    }

    /// Refuses a tensor that has another digest than when the job was begun, if that is known.
    pub fn check_unchanged(
        &self,
        (kind, tensor): (InputKind, &str),
        recorded: Option<&String>,
        found: &str,
    ) -> Result<(), CheckpointError> {
        if recorded.is_none_or(|recorded| recorded == found) {
            return Ok(());
        }
        let file = self.file_of(kind, tensor);
        Err(self.folder.other(format!("holds another job: {file}: {tensor} has changed since it was begun")))
    }

    /// The name of the file that holds an input, which may be a slice of a tensor.
    fn file_of(&self, kind: InputKind, input: &str) -> String {
        let of_layer = |layer: &&SelectedTensor| match kind {
            InputKind::Checkpoint => layer.name == input,
            InputKind::Hessian => layer.hessian_key().as_deref() == Some(input),
        };
        let layer = self.selection.layers.iter().find(of_layer);
        match kind {
            InputKind::Checkpoint => self.checkpoint.file_of(layer.map_or(input, |layer| &layer.tensor)),
            InputKind::Hessian => {
                let tensor = layer.and_then(|layer| layer.hessian.as_deref()).unwrap_or(input);
                self.hessians.as_ref().map_or_else(String::new, |hessians| hessians.file_of(tensor))
            }
        }
    }
}
