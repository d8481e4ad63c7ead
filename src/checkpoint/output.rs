//! The compressed checkpoint: shards under the names of the input's, index, report, summary.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::context::JobContext;
use super::error::{CheckpointError, io_error};
use super::output_shard::OutputShard;
use super::report::{self, JobReport};
use super::{shard, summary};

/// Endings of the files beside the weights that belong to a model: configuration, tokenizer, licence.
const SMALL: [&str; 7] = ["json", "jinja", "model", "txt", "tiktoken", "md", "py"];

/// Writes the whole output, and replaces any incomplete output. `progress` gets (layers written, layers).
pub(super) fn write(job: &JobContext, progress: &dyn Fn(usize, usize)) -> Result<(), CheckpointError> {
    // A report says that the output is complete.
    job.folder.remove_output(report::NAME)?;
    let mut report = JobReport::new(&job.settings, &job.fingerprint);
    let (mut weight_map, mut total) = (Map::new(), 0);
    for shard in &job.checkpoint.shards {
        let mut output = OutputShard::new(job, shard)?;
        for name in shard.tensors() {
            match job.layers.iter().position(|layer| layer.name == name) {
                None => {
                    let bytes = output.copy(name);
                    report.copied = (report.copied.0 + 1, report.copied.1 + bytes as u64);
                }
                Some(index) => {
                    report.layers.push(output.store(index)?);
                    progress(report.layers.len(), job.layers.len());
                }
            }
        }
        weight_map.extend(output.names().map(|name| (name.to_owned(), json!(shard.name()))));
        total += output.data_len();
        report.files.push(output.write()?);
    }
    report.layers.sort_by_key(|layer| job.layers.iter().position(|selected| selected.name == layer.name));
    write_index(job, weight_map, total)?;
    copy_small_files(job)?;
    job.folder.put_output(summary::NAME, summary::page(&report)?.as_bytes())?;
    job.folder.put_output(report::NAME, report.text().as_bytes())
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
        let name = shard::name_of(path);
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
