//! Whether a weight is stored as [outputs, inputs], as `torch.nn.Linear` stores it, or as [inputs, outputs], as the
//! `Conv1D` of GPT-2 does.

use super::error::{CheckpointError, tensor_error};
use super::globs::Globs;
use super::model_config::ModelConfig;
use super::source::Source;
use super::tensor_names::beside;

/// The values of `model_type` in `config.json` whose models have modules of the class `Conv1D`.
const CONV1D_MODELS: [&str; 6] = ["gpt2", "openai-gpt", "ctrl", "imagegpt", "decision_transformer", "clvp"];

/// What settings and configuration say of the orientation of the weights.
pub(super) struct Claims {
    /// The globs of the setting `transposed`, where it is given.
    transposed: Option<Globs>,
    /// The `model_type` of a model, or of a part of one, with modules of the class `Conv1D`.
    conv1d_model: Option<String>,
}

/// How a weight is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Orientation {
    /// As [outputs, inputs].
    Plain,
    /// As [inputs, outputs].
    Transposed,
    /// Square, and taken as [outputs, inputs]: nothing says how it is stored.
    Assumed,
}

impl Claims {
    /// Takes the globs, and what `config.json` says of the model.
    pub fn new(transposed: Option<Globs>, config: Option<&ModelConfig>) -> Self {
        let models = config.map_or_else(Vec::new, ModelConfig::model_types);
        let conv1d_model = models.into_iter().find(|model| CONV1D_MODELS.contains(&model.as_str()));
        Claims { transposed, conv1d_model }
    }

    /// Says how the weight `name` is stored where the caller calibrates: as the setting `transposed` says, and without it as
    /// [outputs, inputs].
    pub fn of_caller(&self, name: &str) -> Orientation {
        match self.setting(name) {
            Some(true) => Orientation::Transposed,
            _ => Orientation::Plain,
        }
    }

    /// What the setting `transposed` says, if it is given.
    fn setting(&self, name: &str) -> Option<bool> {
        self.transposed.as_ref().map(|globs| globs.is_match(name))
    }

    /// Finds how the weight `name`, whose matrix is stored with this shape, is stored: as calibration recorded it beside
    /// the Hessian in `T.transposed`, or else as the setting `transposed` says.
    ///
    /// # Errors
    /// [`CheckpointError::Tensor`] where calibration and setting contradict each other, and where neither says anything of
    /// a square weight of a model that has weights of both kinds, or of square weights with three axes, which models store
    /// in either way.
    pub fn orientation(
        &self,
        (checkpoint, hessians): (&Source, &Source),
        (name, hessian): (&str, &str),
        [rows, cols]: [usize; 2],
    ) -> Result<Orientation, CheckpointError> {
        let (file, info) = checkpoint.info(name).expect("the name comes from the source");
        let recorded = hessians.integers(&beside(hessian, "transposed"))?.map(|value| value.contains(&1));
        let setting = self.setting(name);
        let refuse = |problem: String| Err(tensor_error(&file, name, problem));
        match (recorded, setting) {
            (Some(recorded), Some(setting)) if recorded != setting => {
                let [calibration, setting] = [recorded, setting]
                    .map(|transposed| if transposed { "[inputs, outputs]" } else { "[outputs, inputs]" });
                let source = beside(hessian, "transposed");
                refuse(format!(
                    "is stored as {calibration} according to {source}, and as {setting} according to the setting \
                     \"transposed\""
                ))
            }
            (None, None) if rows == cols => {
                let advice = "name the transposed weights in the setting \"transposed\", which may be an empty list";
                match &self.conv1d_model {
                    Some(model) => refuse(format!(
                        "is square, and models of the type {model} store weights as [inputs, outputs]: {advice}"
                    )),
                    None if info.shape.len() > 2 => {
                        refuse(format!("has square slices, which models store in either orientation: {advice}"))
                    }
                    None => Ok(Orientation::Assumed),
                }
            }
            (recorded, setting) => match recorded.or(setting) {
                Some(true) => Ok(Orientation::Transposed),
                _ => Ok(Orientation::Plain),
            },
        }
    }
}
