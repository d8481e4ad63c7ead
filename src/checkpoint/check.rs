//! What a job checks by reading all of it: values, digests, and what is done already.

use super::inputs::{Inputs, Kind};
use super::job::Job;
use super::part::Part;
use super::source::{Digests, Loaded};
use super::{in_file, report};
use crate::error::Error;

impl Job {
    /// Reads the whole checkpoint and its Hessians, and what is done of the job: refuses what a run would refuse, inputs
    /// that have changed since the job was begun, and results that were damaged. [`Job::open`] does so unless
    /// [`super::Settings::check_values`] is off. `progress` is told (layers checked, layers).
    ///
    /// # Errors
    /// [`Error::InTensor`] with file, tensor and the first bad entry; [`Error::OtherJob`] with file and tensor of an input
    /// that has changed; [`Error::File`] with the file of a damaged result.
    pub fn check_values(&self, progress: &dyn Fn(usize, usize)) -> Result<(), Error> {
        let unfinished = if self.is_finished() { Ok(()) } else { self.check_unfinished(progress) };
        // Finished already, or meanwhile: then results have vanished under our hands.
        if self.is_finished() {
            report::check_content(&self.settings)?;
            progress(self.layers().len(), self.layers().len());
            return Ok(());
        }
        unfinished
    }

    fn check_unfinished(&self, progress: &dyn Fn(usize, usize)) -> Result<(), Error> {
        let (recorded, mut inputs) = (self.recorded()?, Inputs::default());
        for (index, layer) in self.layers().iter().enumerate() {
            let digests = self.with_layer(index, |loaded| self.verified(index, loaded))?;
            inputs.add((&layer.name, &layer.hessian), digests);
            progress(index + 1, self.layers().len());
        }
        inputs.add_copied(&self.checkpoint)?;
        if let Some(recorded) = recorded {
            for (kind, tensor, digest) in inputs.iter() {
                self.check_unchanged((kind, tensor), recorded.get(kind, tensor), digest)?;
            }
        }
        // If it is there already, it is of the same bytes.
        let _ = self.inputs.set(inputs);
        Ok(())
    }

    /// What a layer is made from now; refuses a result that was made from something else.
    fn verified(&self, index: usize, loaded: &Loaded<'_>) -> Result<Digests, Error> {
        let digests = loaded.digests();
        if self.parts.has(index) {
            self.check_made_from(index, &self.part(index)?, &digests)?;
        }
        Ok(digests)
    }

    /// The digests of the inputs when the job was begun, as far as anybody has taken them.
    pub(super) fn recorded(&self) -> Result<Option<Inputs>, Error> {
        Ok(self.parts.inputs()?.or_else(|| self.inputs.get().cloned()))
    }

    /// Refuses the inputs of a layer where they are not those that the job was begun with.
    pub(super) fn check_inputs(&self, index: usize, digests: &Digests) -> Result<(), Error> {
        let Some(recorded) = self.recorded()? else { return Ok(()) };
        let layer = &self.layers()[index];
        for (kind, tensor, digest) in
            [(Kind::Checkpoint, &layer.name, &digests.weight), (Kind::Hessian, &layer.hessian, &digests.hessian)]
        {
            self.check_unchanged((kind, tensor), recorded.get(kind, tensor), digest)?;
        }
        Ok(())
    }

    /// Refuses a result that was not made from these inputs.
    pub(super) fn check_made_from(&self, index: usize, part: &Part, digests: &Digests) -> Result<(), Error> {
        let layer = &self.layers()[index];
        self.check_unchanged((Kind::Checkpoint, &layer.name), Some(&part.inputs.weight), &digests.weight)?;
        self.check_unchanged((Kind::Hessian, &layer.hessian), Some(&part.inputs.hessian), &digests.hessian)
    }

    /// Refuses a tensor that has another digest than when the job was begun, if that is known.
    pub(super) fn check_unchanged(
        &self,
        (kind, tensor): (Kind, &str),
        recorded: Option<&String>,
        found: &str,
    ) -> Result<(), Error> {
        if recorded.is_none_or(|recorded| recorded == found) {
            return Ok(());
        }
        let source = if kind == Kind::Checkpoint { &self.checkpoint } else { &self.hessians };
        let file = source.shard(tensor).map_or_else(String::new, |shard| shard.name());
        Err(self.parts.other(format!("holds another job: {file}: {tensor} has changed since it was begun")))
    }

    /// Reads the result of a layer.
    pub(super) fn part(&self, index: usize) -> Result<Part, Error> {
        let (path, bytes) = self.parts.get(index)?;
        Part::read(&bytes, self.layers()[index].stem(), &self.fingerprint.digest())
            .map_err(|problem| in_file(&path, format!("{problem}; remove the file to have its layer done again")))
    }
}
