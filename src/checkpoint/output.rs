//! The compressed checkpoint: shards under the names of the input's, index, report, summary.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use safetensors::Dtype;
use serde_json::{Map, Value, json};

use super::job::Job;
use super::report::{self, LayerReport};
use super::shard::Shard;
use super::{in_file, stored_loss, summary};
use crate::formats::{Tensor, metadata, tensors};
use crate::header::{Layout, Words};
use crate::{Error, Factorization, Format, Precision};

/// Endings of the files beside the weights that belong to a model: configuration, tokenizer, licence.
const SMALL: [&str; 7] = ["json", "jinja", "model", "txt", "tiktoken", "md", "py"];

/// A tensor of the output, and where it comes from.
struct Entry {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: usize,
    from: From,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    /// The input, bit for bit.
    Copy,
    /// The result of a layer.
    Layer(usize),
}

/// The layer that a tensor is of.
fn layer_of(entry: &Entry) -> Option<usize> {
    match entry.from {
        From::Copy => None,
        From::Layer(index) => Some(index),
    }
}

/// Writes all of it. `progress` is told (layers written, layers).
pub(super) fn write(job: &Job, progress: &dyn Fn(usize, usize)) -> Result<(), Error> {
    let mut report = job.new_report()?;
    let mut weight_map = Map::new();
    let mut total = 0;
    for shard in &job.checkpoint.shards {
        let mut entries = Vec::new();
        let mut words = shard.metadata();
        for name in shard.tensors() {
            match job.layers().iter().position(|layer| layer.name == name) {
                None => {
                    let copy = copied(shard, name);
                    report.copied = (report.copied.0 + 1, report.copied.1 + copy.bytes as u64);
                    entries.push(copy);
                }
                Some(index) => {
                    let (layer, own) = describe(job, index, shard, &mut words)?;
                    report.layers.push(layer);
                    entries.extend(own);
                }
            }
        }
        for entry in &entries {
            total += entry.bytes;
            if weight_map.insert(entry.name.clone(), json!(shard.name())).is_some() {
                let problem = "would be written twice: the input has a tensor of this name";
                return Err(super::in_tensor(&shard.name(), &entry.name, problem));
            }
        }
        let before = report.layers.len() - entries.iter().filter_map(layer_of).collect::<BTreeSet<_>>().len();
        write_shard(job, shard, (&entries, &words), &|done| progress(before + done, job.layers().len()))?;
    }
    report.layers.sort_by_key(|layer| job.layers().iter().position(|selected| selected.name == layer.name));
    if let Some(index) = &job.checkpoint.index {
        let mut content = index.content.clone();
        content.insert("weight_map".to_owned(), Value::Object(weight_map));
        if let Some(metadata) = content.entry("metadata").or_insert_with(|| json!({})).as_object_mut() {
            metadata.insert("total_size".to_owned(), json!(total));
        }
        job.parts.put_output(&index.name, format!("{:#}\n", Value::Object(content)).as_bytes())?;
    }
    copy_small_files(job)?;
    job.parts.put_output(summary::NAME, summary::page(&report)?.as_bytes())?;
    // Last: with it the output is whole.
    job.parts.put_output(report::NAME, report.text()?.as_bytes())
}

fn copied(shard: &Shard, name: String) -> Entry {
    let info = shard.info(&name).expect("the name comes from the shard");
    let (start, end) = info.data_offsets;
    Entry { dtype: info.dtype, shape: info.shape.clone(), bytes: end - start, from: From::Copy, name }
}

/// Measures what is stored of a layer, and lists its tensors; adds its metadata to the shard's.
fn describe(job: &Job, index: usize, shard: &Shard, words: &mut Words) -> Result<(LayerReport, Vec<Entry>), Error> {
    let layer = &job.layers()[index];
    let result = job.result(index)?;
    let stored = stored(job, index, &result)?;
    let loss = job.with_layer(index, |layer| {
        job.install(|| stored_loss::measure(layer, &stored, job.settings(), job.options()))
    })?;
    let entries: Vec<Entry> = tensors_of(job, index, &stored)?
        .into_iter()
        .map(|t| Entry { bytes: t.len(), name: t.name, dtype: t.dtype, shape: t.shape, from: From::Layer(index) })
        .collect();
    if job.settings().format != Format::Reconstructed {
        words.extend(metadata(&stored.with_loss(loss), &format!("{}.", layer.stem())));
    }
    let history = format!("{}.armor.history", layer.stem());
    let after = entries.iter().filter(|entry| entry.name != history).map(|entry| entry.bytes).sum();
    let before = copied(shard, layer.name.clone()).bytes;
    Ok((LayerReport::new(layer, &result, loss, (before, after)), entries))
}

/// The factors as they are stored: rounded, unless only their product is.
fn stored(job: &Job, index: usize, result: &Factorization) -> Result<Factorization, Error> {
    match job.settings().format {
        Format::Reconstructed => Ok(result.clone()),
        _ => job.rounded(index, result),
    }
}

/// The tensors of a layer.
fn tensors_of<'a>(job: &Job, index: usize, stored: &'a Factorization) -> Result<Vec<Tensor<'a>>, Error> {
    let (settings, layer) = (job.settings(), &job.layers()[index]);
    let mut tensors = tensors(stored, layer.stem(), settings.format, settings.dtype)?;
    if settings.format == Format::Reconstructed {
        tensors[0].name.clone_from(&layer.name);
    }
    Ok(tensors)
}

/// Writes one shard, a tensor at a time.
fn write_shard(
    job: &Job,
    shard: &Shard,
    (entries, words): (&[Entry], &Words),
    progress: &dyn Fn(usize),
) -> Result<(), Error> {
    let path = job.settings().out.join(shard.name());
    let failed = |error: std::io::Error| in_file(&path, error);
    let layout = Layout::new(entries.iter().map(|e| (e.name.as_str(), e.dtype, e.shape.as_slice(), e.bytes)));
    let header = layout.header(words)?;
    let mut temporary = job.parts.temporary()?;
    let file = temporary.as_file_mut();
    file.write_all(&header).map_err(failed)?;
    file.set_len((header.len() + layout.data_len()) as u64).map_err(failed)?;
    let place = |name: &str| SeekFrom::Start((header.len() + layout.start(name)) as u64);
    for entry in entries.iter().filter(|entry| entry.from == From::Copy) {
        file.seek(place(&entry.name)).map_err(failed)?;
        shard.copy(&entry.name, file)?;
    }
    let layers: BTreeSet<usize> = entries.iter().filter_map(layer_of).collect();
    for (done, index) in layers.into_iter().enumerate() {
        let stored = stored(job, index, &job.result(index)?)?;
        for tensor in tensors_of(job, index, &stored)? {
            file.seek(place(&tensor.name)).map_err(failed)?;
            file.write_all(&job.install(|| tensor.into_bytes())?).map_err(failed)?;
        }
        progress(done + 1);
    }
    job.parts.publish(temporary, &shard.name())
}

/// Copies the model's files that are not weights.
fn copy_small_files(job: &Job) -> Result<(), Error> {
    let folder = job.checkpoint.path();
    if !folder.is_dir() {
        return Ok(());
    }
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| in_file(folder, error))? {
        entries.push(entry.map_err(|error| in_file(folder, error))?.path());
    }
    entries.sort();
    let ours = |name: &str| [report::NAME, summary::NAME].contains(&name);
    let index = job.checkpoint.index.as_ref().map(|index| index.name.as_str());
    for path in entries.iter().filter(|path| path.is_file() && is_small(path)) {
        let name = super::shard::name_of(path);
        if !ours(&name) && Some(name.as_str()) != index {
            let bytes = fs::read(path).map_err(|error| in_file(path, error))?;
            job.parts.put_output(&name, &bytes)?;
        }
    }
    Ok(())
}

fn is_small(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    match ending {
        Some(ending) => SMALL.contains(&ending),
        None => ["LICENSE", "NOTICE"].iter().any(|name| path.file_name().is_some_and(|file| file == *name)),
    }
}

impl Factorization {
    /// The same factors with values that the precision holds.
    pub(super) fn rounded(&self, precision: Precision) -> Result<Self, Error> {
        let mut rounded = self.clone();
        let factors = rounded.factors_mut();
        precision.round("left", factors.left.data_mut())?;
        precision.round("core", factors.core.values_mut())?;
        precision.round("right", factors.right.data_mut())?;
        Ok(rounded)
    }
}
