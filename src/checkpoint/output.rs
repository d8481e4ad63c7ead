//! The compressed checkpoint: shards under the names of the input's, index, report, summary.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use safetensors::Dtype;
use serde_json::{Map, Value, json};

use super::context::JobContext;
use super::error::{CheckpointError, io_error};
use super::input_digests::{InputDigests, InputKind};
use super::report::{self, FileReport, JobReport, LayerReport};
use super::shard::Shard;
use super::{digest, stored_loss, summary};
use crate::bytes::header::{Layout, Words};
use crate::result::factorization::Factorization;
use crate::result::formats::contents::tensors;
use crate::result::formats::factors::metadata;
use crate::result::formats::format::Format;
use crate::result::formats::tensor::Tensor;

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

/// Writes all of it, whatever stands there. `progress` is told (layers written, layers).
pub(super) fn write(job: &JobContext, progress: &dyn Fn(usize, usize)) -> Result<(), CheckpointError> {
    // Where there is a report, the output is whole.
    job.folder.remove_output(report::NAME)?;
    let recorded = job.recorded()?.unwrap_or_default();
    let mut report = JobReport::new(&job.settings, &job.fingerprint);
    let (mut weight_map, mut total, mut done) = (Map::new(), 0, 0);
    for shard in &job.checkpoint.shards {
        let mut words = shard.metadata();
        let entries = entries(job, shard, &mut report, &mut words)?;
        weight_map.extend(entries.iter().map(|entry| (entry.name.clone(), json!(shard.name()))));
        total += entries.iter().map(|entry| entry.bytes).sum::<usize>();
        let file = write_shard(job, shard, (&entries, &words), &recorded, &|more| {
            progress(done + more, job.layers.len());
        })?;
        report.files.push(file);
        done = report.layers.len();
    }
    report.layers.sort_by_key(|layer| job.layers.iter().position(|selected| selected.name == layer.name));
    write_index(job, weight_map, total)?;
    copy_small_files(job)?;
    job.folder.put_output(summary::NAME, summary::page(&report)?.as_bytes())?;
    job.folder.put_output(report::NAME, report.text().as_bytes())
}

/// The tensors that a shard becomes; adds them to the report, and their metadata to the shard's.
fn entries(
    job: &JobContext,
    shard: &Shard,
    report: &mut JobReport,
    words: &mut Words,
) -> Result<Vec<Entry>, CheckpointError> {
    let mut entries = Vec::new();
    for name in shard.tensors() {
        match job.layers.iter().position(|layer| layer.name == name) {
            None => {
                let copy = copied(shard, name);
                report.copied = (report.copied.0 + 1, report.copied.1 + copy.bytes as u64);
                entries.push(copy);
            }
            Some(index) => {
                let (layer, own) = describe(job, index, shard, words)?;
                report.layers.push(layer);
                entries.extend(own);
            }
        }
    }
    Ok(entries)
}

/// Writes the index, if the checkpoint has one.
fn write_index(job: &JobContext, weight_map: Map<String, Value>, total: usize) -> Result<(), CheckpointError> {
    let Some(index) = &job.checkpoint.index else { return Ok(()) };
    let mut content = index.content.clone();
    content.insert("weight_map".to_owned(), Value::Object(weight_map));
    if let Some(metadata) = content.entry("metadata").or_insert_with(|| json!({})).as_object_mut() {
        metadata.insert("total_size".to_owned(), json!(total));
    }
    job.folder.put_output(&index.name, format!("{:#}\n", Value::Object(content)).as_bytes())
}

fn copied(shard: &Shard, name: String) -> Entry {
    let info = shard.info(&name).expect("the name comes from the shard");
    let (start, end) = info.data_offsets;
    Entry { dtype: info.dtype, shape: info.shape.clone(), bytes: end - start, from: From::Copy, name }
}

/// Measures what is stored of a layer, and lists its tensors; adds its metadata to the shard's.
fn describe(
    job: &JobContext,
    index: usize,
    shard: &Shard,
    words: &mut Words,
) -> Result<(LayerReport, Vec<Entry>), CheckpointError> {
    let layer = &job.layers[index];
    let part = job.part(index)?;
    let stored = stored(job, index, &part.result)?;
    let loss = job.with_layer(index, |loaded| {
        let digests = loaded.digests();
        job.check_made_from(index, &part, &digests)?;
        job.check_inputs(index, &digests)?;
        job.install(|| stored_loss::measure(&loaded.layer, &stored, &job.settings, &job.options))
            .map_err(|error| job.in_layer(index, error))
    })?;
    let entries: Vec<Entry> = tensors_of(job, index, &stored)?
        .into_iter()
        .map(|t| Entry { bytes: t.len(), name: t.name, dtype: t.dtype, shape: t.shape, from: From::Layer(index) })
        .collect();
    if job.settings.format != Format::Reconstructed {
        let prefix = format!("{}.", layer.stem());
        words.extend(metadata(&stored, &prefix));
        words.insert(format!("{prefix}armor.loss"), loss.to_string());
    }
    let history = format!("{}.armor.history", layer.stem());
    let after = entries.iter().filter(|entry| entry.name != history).map(|entry| entry.bytes).sum();
    let before = copied(shard, layer.name.clone()).bytes;
    Ok((LayerReport::new(layer, &part.result, loss, (before, after)), entries))
}

/// The factors as they are stored: rounded, unless only their product is.
fn stored(job: &JobContext, index: usize, result: &Factorization) -> Result<Factorization, CheckpointError> {
    match job.settings.format {
        Format::Reconstructed => Ok(result.clone()),
        _ => result.clone().rounded(job.settings.dtype).map_err(|error| job.in_layer(index, error)),
    }
}

/// The tensors of a layer.
fn tensors_of<'a>(
    job: &JobContext,
    index: usize,
    stored: &'a Factorization,
) -> Result<Vec<Tensor<'a>>, CheckpointError> {
    let (settings, layer) = (&job.settings, &job.layers[index]);
    let mut tensors = tensors(stored, layer.stem(), settings.format, settings.dtype)?;
    if settings.format == Format::Reconstructed {
        tensors[0].name.clone_from(&layer.name);
    }
    Ok(tensors)
}

/// Writes one shard, a tensor at a time; `recorded` says what those that are copied held at the beginning.
fn write_shard(
    job: &JobContext,
    shard: &Shard,
    (entries, words): (&[Entry], &Words),
    recorded: &InputDigests,
    progress: &dyn Fn(usize),
) -> Result<FileReport, CheckpointError> {
    let path = job.settings.out.join(shard.name());
    let failed = |error: std::io::Error| io_error(&path)(error);
    let layout = Layout::new(entries.iter().map(|e| (e.name.as_str(), e.dtype, e.shape.as_slice(), e.bytes)));
    let header = layout.header(words)?;
    let mut temporary = job.folder.temporary()?;
    let file = temporary.as_file_mut();
    file.write_all(&header).map_err(failed)?;
    file.set_len((header.len() + layout.data_len()) as u64).map_err(failed)?;
    let place = |name: &str| SeekFrom::Start((header.len() + layout.start(name)) as u64);
    for entry in entries.iter().filter(|entry| entry.from == From::Copy) {
        file.seek(place(&entry.name)).map_err(failed)?;
        let digest = shard.read(&entry.name, |piece| file.write_all(piece).map_err(failed))?;
        job.check_unchanged(
            (InputKind::Checkpoint, &entry.name),
            recorded.get(InputKind::Checkpoint, &entry.name),
            &digest,
        )?;
    }
    let layers: BTreeSet<usize> = entries.iter().filter_map(layer_of).collect();
    for (done, index) in layers.into_iter().enumerate() {
        let stored = stored(job, index, &job.part(index)?.result)?;
        for tensor in tensors_of(job, index, &stored)? {
            file.seek(place(&tensor.name)).map_err(failed)?;
            let bytes = job.install(|| tensor.into_bytes()).map_err(|error| job.in_layer(index, error))?;
            file.write_all(&bytes).map_err(failed)?;
        }
        progress(done + 1);
    }
    let bytes = (header.len() + layout.data_len()) as u64;
    let sha256 = digest::of_file(temporary.path())?;
    job.folder.publish(temporary, &shard.name())?;
    Ok(FileReport { file: shard.name(), bytes, sha256 })
}

/// Copies the model's files that are not weights.
fn copy_small_files(job: &JobContext) -> Result<(), CheckpointError> {
    let folder = job.checkpoint.path();
    if !folder.is_dir() {
        return Ok(());
    }
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(io_error(folder))? {
        entries.push(entry.map_err(io_error(folder))?.path());
    }
    entries.sort();
    let ours = |name: &str| [report::NAME, summary::NAME].contains(&name);
    let index = job.checkpoint.index.as_ref().map(|index| index.name.as_str());
    for path in entries.iter().filter(|path| path.is_file() && is_small(path)) {
        let name = super::shard::name_of(path);
        if !ours(&name) && Some(name.as_str()) != index {
            let bytes = fs::read(path).map_err(io_error(path))?;
            job.folder.put_output(&name, &bytes)?;
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
