//! Whether a weight is stored as [outputs, inputs], as `torch.nn.Linear` stores it, or as [inputs, outputs], as the
//! `Conv1D` of GPT-2 does.

use std::path::Path;

use globset::GlobMatcher;
use serde_json::Value;

use super::error::{CheckpointError, tensor_error};
use super::source::Source;
use super::tensor_names::beside;

/// The values of `model_type` in `config.json` whose models have modules of the class `Conv1D`.
const CONV1D_MODELS: [&str; 6] = ["gpt2", "openai-gpt", "ctrl", "imagegpt", "decision_transformer", "clvp"];

/// What settings and configuration say of the orientation of the weights.
pub(super) struct Claims {
    /// The globs of the setting `transposed`, where it is given.
    pub transposed: Option<Vec<GlobMatcher>>,
    /// The `model_type` of a model with modules of the class `Conv1D`.
    conv1d_model: Option<String>,
}

impl Claims {
    /// Takes the globs, and reads `config.json` beside the checkpoint.
    pub fn new(transposed: Option<Vec<GlobMatcher>>, checkpoint: &Path) -> Self {
        let folder = if checkpoint.is_dir() { Some(checkpoint) } else { checkpoint.parent() };
        let text = folder.and_then(|folder| std::fs::read(folder.join("config.json")).ok());
        let config: Option<Value> = text.and_then(|text| serde_json::from_slice(&text).ok());
        let model = config.and_then(|config| config["model_type"].as_str().map(str::to_owned));
        Claims { transposed, conv1d_model: model.filter(|model| CONV1D_MODELS.contains(&model.as_str())) }
    }

    /// Finds whether the weight `name`, whose matrix is stored with this shape, is stored as [inputs, outputs]: as calibration
    /// recorded it beside the Hessian in `T.transposed`, or else as the setting `transposed` says.
    ///
    /// # Errors
    /// [`CheckpointError::Tensor`] where calibration and setting contradict each other, and where neither says anything of a
    /// square weight of a model that has weights of both kinds.
    pub fn is_transposed(
        &self,
        (checkpoint, hessians): (&Source, &Source),
        (name, hessian): (&str, &str),
        [rows, cols]: [usize; 2],
    ) -> Result<bool, CheckpointError> {
        let (file, _) = checkpoint.info(name).expect("the name comes from the source");
        let recorded = hessians.integers(&beside(hessian, "transposed"))?.map(|value| value.contains(&1));
        // A calibration that counts tokens records transposed weights, too.
        let recorded = recorded.or_else(|| hessians.shard(&beside(hessian, "tokens")).map(|_| false));
        let setting = self.transposed.as_ref().map(|globs| globs.iter().any(|glob| glob.is_match(name)));
        match (recorded, setting) {
            (Some(recorded), Some(setting)) if recorded != setting => {
                let [calibration, setting] = [recorded, setting]
                    .map(|transposed| if transposed { "[inputs, outputs]" } else { "[outputs, inputs]" });
                let problem = format!(
                    "is stored as {calibration} according to {}, and as {setting} according to the setting \"transposed\"",
                    beside(hessian, "transposed")
                );
                Err(tensor_error(&file, name, problem))
            }
            (None, None) if rows == cols => match &self.conv1d_model {
                None => Ok(false),
                Some(model) => {
                    let problem = format!(
                        "is square, and models of the type {model} store weights as [inputs, outputs]: name the transposed \
                         weights in the setting \"transposed\", which may be an empty list"
                    );
                    Err(tensor_error(&file, name, problem))
                }
            },
            (recorded, setting) => Ok(recorded.or(setting).unwrap_or(false)),
        }
    }
}
