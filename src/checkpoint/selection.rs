//! Which tensors are compressed, and under which Hessians.

use globset::{Glob, GlobMatcher};

use super::error::{CheckpointError, file_error, setting_error, tensor_error};
use super::settings::JobSettings;
use super::shard::Shard;
use super::source::{Source, is_number};
use crate::descent::options::Objective;

/// A weight that a job compresses.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SelectedTensor {
    /// The tensor's name.
    pub name: String,
    /// The file that has it.
    pub file: String,
    /// The tensor of its Hessian.
    pub hessian: String,
    /// Output features, m.
    pub rows: usize,
    /// Input features, k.
    pub cols: usize,
}

impl SelectedTensor {
    /// Returns the name without its ending `.weight`: the start of the names of the factors' tensors.
    pub fn stem(&self) -> &str {
        stem(&self.name)
    }
}

fn stem(name: &str) -> &str {
    name.strip_suffix(".weight").unwrap_or(name)
}

/// Picks the weights and checks all that headers tell of them, in the order of their names, numbers by value.
pub(super) fn select(
    settings: &JobSettings,
    checkpoint: &Source,
    hessians: &Source,
) -> Result<Vec<SelectedTensor>, CheckpointError> {
    let include = globs("include", &settings.include)?;
    let exclude = globs("exclude", &settings.exclude)?;
    for (key, globs) in [("include", &include), ("exclude", &exclude)] {
        if let Some(glob) = globs.iter().find(|glob| !checkpoint.tensors().any(|name| glob.is_match(name))) {
            let problem = format!("{key}: \"{}\" matches no tensor", glob.glob());
            return Err(file_error(checkpoint.path(), problem));
        }
    }
    check_aliases(settings, checkpoint, hessians)?;
    let mut selected = Vec::new();
    for name in checkpoint.tensors() {
        if exclude.iter().any(|glob| glob.is_match(name)) {
            continue;
        }
        let hessian = hessian_of(name, settings, hessians);
        let wanted =
            if include.is_empty() { hessian.is_some() } else { include.iter().any(|glob| glob.is_match(name)) };
        if wanted {
            let hessian = hessian.ok_or_else(|| no_hessian(name, settings, checkpoint, hessians))?;
            selected.push(check(name, hessian, settings, checkpoint, hessians)?);
        }
    }
    if selected.is_empty() {
        return Err(file_error(
            checkpoint.path(),
            format!(
                "no tensor is selected: none of its weights has a Hessian in {}, or all are excluded",
                hessians.path().display()
            ),
        ));
    }
    selected.sort_by_cached_key(|layer| natural(&layer.name));
    Ok(selected)
}

fn globs(key: &str, globs: &[String]) -> Result<Vec<GlobMatcher>, CheckpointError> {
    let compile = |glob: &String| match Glob::new(glob) {
        Ok(glob) => Ok(glob.compile_matcher()),
        Err(error) => Err(setting_error(key, error)),
    };
    globs.iter().map(compile).collect()
}

/// Refuses aliases that say nothing: of components that no weight has, or no Hessian.
fn check_aliases(settings: &JobSettings, checkpoint: &Source, hessians: &Source) -> Result<(), CheckpointError> {
    let has =
        |source: &Source, component: &str| source.tensors().any(|name| name.split('.').any(|part| part == component));
    for (from, to) in &settings.alias {
        for (component, source) in [(from, checkpoint), (to, hessians)] {
            if !has(source, component) {
                let problem = format!("alias: {from}={to}: no tensor has the component \"{component}\"");
                return Err(file_error(source.path(), problem));
            }
        }
    }
    Ok(())
}

/// How the tensors that serve the objective end, the better first.
fn endings(settings: &JobSettings) -> &'static [&'static str] {
    match settings.options.objective {
        Objective::Diagonal => &["hessian_diag", "hessian"],
        Objective::Full => &["hessian"],
    }
}

/// The Hessian's tensor: of the weight itself, or of what its name becomes under an alias.
fn hessian_of(name: &str, settings: &JobSettings, hessians: &Source) -> Option<String> {
    let find = |stem: &str| {
        let names = endings(settings).iter().map(|ending| format!("{stem}.{ending}"));
        names.into_iter().find(|name| hessians.shard(name).is_some())
    };
    let stem = stem(name);
    find(stem).or_else(|| {
        settings.alias.iter().find_map(|(from, to)| {
            let renamed: Vec<&str> = stem.split('.').map(|part| if part == from { to } else { part }).collect();
            let renamed = renamed.join(".");
            (renamed != stem).then(|| find(&renamed)).flatten()
        })
    })
}

fn no_hessian(name: &str, settings: &JobSettings, checkpoint: &Source, hessians: &Source) -> CheckpointError {
    let file = checkpoint.shard(name).map_or_else(String::new, Shard::name);
    let names: Vec<String> = endings(settings).iter().map(|ending| format!("{}.{ending}", stem(name))).collect();
    let (file_of, names) = (hessians.path().display(), names.join(" or "));
    tensor_error(&file, name, format!("is selected, but {file_of} has no {names}, and no alias leads to another"))
}

/// Checks type and shape of a weight and its Hessian.
fn check(
    name: &str,
    hessian: String,
    settings: &JobSettings,
    checkpoint: &Source,
    hessians: &Source,
) -> Result<SelectedTensor, CheckpointError> {
    let (file, dtype, shape) = described(checkpoint, name);
    let refuse = |problem: String| Err(tensor_error(&file, name, problem));
    if !is_number(dtype) {
        return refuse(format!("is {dtype:?}, expected F32, F64, F16 or BF16"));
    }
    let &[rows, cols] = shape.as_slice() else {
        return refuse(format!("has shape {shape:?}, expected two axes"));
    };
    if rows == 0 || cols == 0 {
        return refuse(format!("has shape {shape:?}, which has no entries"));
    }
    let pattern = settings.options.pattern;
    if !cols.is_multiple_of(pattern.m()) {
        return refuse(format!("{cols} columns are not a multiple of {}, the group of {pattern}", pattern.m()));
    }
    if let Err(error) = settings.format.check((rows, cols), pattern, settings.dtype) {
        return refuse(error.to_string());
    }
    let (hessian_file, dtype, shape) = described(hessians, &hessian);
    let expected = if hessian.ends_with("_diag") { vec![cols] } else { vec![cols, cols] };
    if !is_number(dtype) {
        return Err(tensor_error(&hessian_file, &hessian, format!("is {dtype:?}, expected F32, F64, F16 or BF16")));
    }
    if shape != expected {
        let problem = format!("has shape {shape:?}, expected {expected:?} for {name} of {rows} × {cols}");
        return Err(tensor_error(&hessian_file, &hessian, problem));
    }
    Ok(SelectedTensor { name: name.to_owned(), file, hessian, rows, cols })
}

/// File, type and shape of a tensor that is there.
fn described(source: &Source, name: &str) -> (String, safetensors::Dtype, Vec<usize>) {
    let shard = source.shard(name).expect("the name comes from the source");
    let info = shard.info(name).expect("the name comes from the shard");
    (shard.name(), info.dtype, info.shape.clone())
}

/// A name's components, numbers before words and by value: layer 2 comes before layer 10.
fn natural(name: &str) -> Vec<(Option<u64>, String)> {
    let part = |part: &str| match part.parse() {
        Ok(number) => (Some(number), String::new()),
        Err(_) => (None, part.to_owned()),
    };
    name.split('.').map(part).collect()
}
