//! What a job does with every tensor of a checkpoint: it compresses the tensor, or copies it for a reason.

use std::collections::BTreeSet;

use safetensors::tensor::TensorInfo;
use serde::Serialize;

use super::error::{CheckpointError, file_error, tensor_error};
use super::globs::Globs;
use super::hessian_names::{HessianNames, UnmatchedHessian};
use super::inputs::Inputs;
use super::left_alone;
use super::model_config::ModelConfig;
use super::orientation::Claims;
use super::overrides::Overrides;
use super::scales::weight_of_scale;
use super::selected_tensor::SelectedTensor;
use super::settings::JobSettings;
use super::source::{Source, is_weight};
use super::tensor_names::beside;
use crate::descent::options::Objective;
use crate::result::formats::format::Format;

/// A tensor that is not compressed: it is copied bit for bit, or dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CopiedTensor {
    /// The tensor's name.
    pub name: String,
    /// The file that has it.
    pub file: String,
    /// Why it is not compressed, or why it is dropped.
    pub reason: String,
}

/// The decision on every tensor of a checkpoint.
pub(super) struct Selection {
    /// In the order of their names, numbers by value.
    pub layers: Vec<SelectedTensor>,
    pub copied: Vec<CopiedTensor>,
    /// Scales of weights in FP8 that are compressed: the output does not need them.
    pub dropped: Vec<CopiedTensor>,
    pub unmatched: Vec<UnmatchedHessian>,
    /// What a user should know before the job runs.
    pub warnings: Vec<String>,
}

/// A decision on one tensor.
enum Decision {
    Compress(Vec<SelectedTensor>),
    Copy(String),
}

/// Decides on every tensor from the headers alone.
///
/// # Errors
/// Those of all tensors at once; settings that apply to nothing; a checkpoint without any layer to compress.
pub(super) fn select(
    settings: &JobSettings,
    (checkpoint, config): (&Source, Option<&ModelConfig>),
    hessians: Option<&Source>,
) -> Result<Selection, CheckpointError> {
    let overrides = Overrides::new(settings, checkpoint)?;
    let chooser = Chooser::new((settings, &overrides), (checkpoint, config), hessians)?;
    let (mut layers, mut copied, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    for name in checkpoint.tensors() {
        match chooser.decide(name) {
            Ok(Decision::Compress(of_tensor)) => layers.extend(of_tensor),
            Ok(Decision::Copy(reason)) => {
                let (file, _) = checkpoint.info(name).expect("the name comes from the source");
                copied.push(CopiedTensor { name: name.to_owned(), file, reason });
            }
            Err(error) => errors.push(error),
        }
    }
    if let Some(error) = CheckpointError::of_all(errors) {
        return Err(error);
    }
    let names = chooser.names.as_ref();
    let unmatched = names.map(|names| names.unmatched().to_vec()).unwrap_or_default();
    if layers.is_empty() {
        return Err(nothing_selected(&chooser, &copied));
    }
    overrides.check_used(&layers)?;
    layers.sort_by_cached_key(|layer| natural(&layer.name));
    copied.sort_by_cached_key(|tensor| natural(&tensor.name));
    let dropped = drop_scales(&layers, &mut copied, checkpoint);
    check_plain(settings, &copied, checkpoint)?;
    let warnings = warnings(&layers, &unmatched, names.map_or(0, HessianNames::count));
    Ok(Selection { layers, copied, dropped, unmatched, warnings })
}

/// Takes the scales of compressed weights out of the tensors that are copied.
fn drop_scales(layers: &[SelectedTensor], copied: &mut Vec<CopiedTensor>, checkpoint: &Source) -> Vec<CopiedTensor> {
    let quantized = layers.iter().filter(|layer| layer.scale.is_some());
    let compressed: BTreeSet<&str> = quantized.map(|layer| layer.tensor.as_str()).collect();
    let is_dropped = |tensor: &mut CopiedTensor| {
        weight_of_scale(checkpoint, &tensor.name).is_some_and(|weight| compressed.contains(weight.as_str()))
    };
    copied.extract_if(.., is_dropped).collect()
}

/// Refuses the format `reconstructed` where weights in FP8 are copied: the configuration of a model describes either plain
/// weights or weights in FP8.
fn check_plain(settings: &JobSettings, copied: &[CopiedTensor], checkpoint: &Source) -> Result<(), CheckpointError> {
    let scale = copied.iter().find_map(|tensor| Some((tensor, weight_of_scale(checkpoint, &tensor.name)?)));
    match scale.filter(|_| settings.format == Format::Reconstructed) {
        Some((scale, weight)) => {
            let problem =
                format!("stays in FP8 with {}, but the format reconstructed stores plain weights", scale.name);
            Err(tensor_error(&scale.file, &weight, problem))
        }
        None => Ok(()),
    }
}

/// The rules of a selection, and what they are applied to.
struct Chooser<'a> {
    inputs: Inputs<'a>,
    include: Globs,
    exclude: Globs,
    /// `None` where the caller calibrates.
    names: Option<HessianNames<'a>>,
}

impl<'a> Chooser<'a> {
    fn new(
        (settings, overrides): (&'a JobSettings, &'a Overrides<'a>),
        (checkpoint, config): (&'a Source, Option<&ModelConfig>),
        hessians: Option<&'a Source>,
    ) -> Result<Self, CheckpointError> {
        let globs = |key: &str, texts: &[String]| Globs::new(key, texts, checkpoint);
        let include = globs("include", &settings.include)?;
        let exclude = globs("exclude", &settings.exclude)?;
        let transposed = settings.transposed.as_ref().map(|texts| globs("transposed", texts)).transpose()?;
        let names = hessians.map(|hessians| HessianNames::new((settings, overrides), checkpoint, hessians));
        let (names, claims) = (names.transpose()?, Claims::new(transposed, config));
        Ok(Chooser { inputs: Inputs { settings, claims, overrides, checkpoint, hessians }, include, exclude, names })
    }

    fn decide(&self, name: &str) -> Result<Decision, CheckpointError> {
        let copy = |reason: &str| Ok(Decision::Copy(reason.to_owned()));
        if self.exclude.is_match(name) {
            return copy("is excluded");
        }
        if let Some(weight) = weight_of_scale(self.inputs.checkpoint, name) {
            return Ok(Decision::Copy(format!("belongs to {weight}")));
        }
        let by_default = self.include.is_empty();
        if !by_default && !self.include.is_match(name) {
            return copy("is not included");
        }
        let (_, info) = self.inputs.checkpoint.info(name).expect("the name comes from the source");
        let hessian = self.names.as_ref().and_then(|names| names.of(name));
        if by_default {
            if let Some(reason) = left_alone::by_name(name, &info.shape) {
                return copy(reason);
            }
            if hessian.is_none() {
                return Ok(Decision::Copy(why_without(info)));
            }
        }
        if let Some(names) = self.names.as_ref().filter(|_| hessian.is_none()) {
            return Err(names.absent(name));
        }
        let layers = self.inputs.layers(name, hessian.as_deref())?;
        let first = layers.first().filter(|_| by_default);
        match first.and_then(|layer| left_alone::by_size(layer, self.inputs.settings)) {
            Some(reason) => Ok(Decision::Copy(reason)),
            None => Ok(Decision::Compress(layers)),
        }
    }
}

/// Says why a tensor without a Hessian is copied.
fn why_without(info: &TensorInfo) -> String {
    match info.shape.len() {
        _ if !is_weight(info.dtype) => format!("is {:?}", info.dtype),
        2 | 3 => "has no Hessian".to_owned(),
        0 => "is a single number".to_owned(),
        1 => "has one axis".to_owned(),
        axes => format!("has {axes} axes"),
    }
}

fn nothing_selected(chooser: &Chooser<'_>, copied: &[CopiedTensor]) -> CheckpointError {
    let checkpoint = chooser.inputs.checkpoint;
    let Some((hessians, names)) = chooser.inputs.hessians.zip(chooser.names.as_ref()) else {
        return file_error(checkpoint.path(), "no tensor is selected: all that are included are excluded, too");
    };
    let mut problem = format!(
        "no tensor is selected: none of its weights has a Hessian in {}, or all are excluded or left alone",
        hessians.path().display()
    );
    if let Some(tensor) = copied.iter().find(|tensor| tensor.reason.starts_with("would grow")) {
        problem += &format!("; {} {}", tensor.name, tensor.reason);
    }
    if let Some(found) = names.unmatched().iter().find(|found| found.similar.is_some()) {
        problem += &format!("; {}", similar_names(found));
    }
    file_error(checkpoint.path(), problem)
}

/// Both spellings of a name, side by side.
fn similar_names(found: &UnmatchedHessian) -> String {
    match &found.similar {
        Some(weight) => format!("{} matches no weight, but the checkpoint has {weight}", found.hessian),
        None => format!("{} matches no weight", found.hessian),
    }
}

fn warnings(layers: &[SelectedTensor], unmatched: &[UnmatchedHessian], hessians: usize) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(found) = unmatched.iter().find(|found| found.similar.is_some()).or(unmatched.first()) {
        let names = similar_names(found);
        let count = unmatched.len();
        warnings.push(format!("{count} of {hessians} Hessians match no weight: {names}; see the setting \"rename\""));
    }
    let assumed: Vec<&SelectedTensor> = layers.iter().filter(|layer| layer.is_orientation_assumed).collect();
    if let Some(layer) = assumed.first() {
        let (count, name) = (assumed.len(), &layer.name);
        let record = beside(layer.hessian.as_deref().unwrap_or_default(), "transposed");
        warnings.push(format!(
            "{count} square weights are taken as [outputs, inputs], such as {name}: neither {record} nor the setting \
             \"transposed\" says how they are stored"
        ));
    }
    let unreached: Vec<&SelectedTensor> = layers.iter().filter(|layer| layer.tokens == Some(0)).collect();
    if let Some(layer) = unreached.first() {
        let (count, name) = (unreached.len(), &layer.name);
        warnings
            .push(format!("no calibration token reached {count} layers, whose inputs all count alike, such as {name}"));
    }
    let is_short = |layer: &&SelectedTensor| {
        let is_full = layer.options.objective == Objective::Full;
        is_full && layer.tokens.is_some_and(|tokens| (1..layer.cols as u64).contains(&tokens))
    };
    let short: Vec<&SelectedTensor> = layers.iter().filter(is_short).collect();
    if let Some(layer) = short.first() {
        let (count, name, tokens, cols) = (short.len(), &layer.name, layer.tokens.unwrap_or(0), layer.cols);
        let example = format!("{name} with {tokens} tokens and {cols} inputs");
        warnings.push(format!("{count} layers have fewer calibration tokens than inputs, such as {example}"));
    }
    warnings
}

/// A name's components, numbers before words and by value: layer 2 comes before layer 10.
fn natural(name: &str) -> Vec<(Option<u64>, String)> {
    let part = |part: &str| match part.parse() {
        Ok(number) => (Some(number), String::new()),
        Err(_) => (None, part.to_owned()),
    };
    name.split('.').map(part).collect()
}
