//! The compressed checkpoint: shards, index, the model's other files, report, summary.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::context::JobContext;
use super::error::CheckpointError;
use super::model_config::NAME as CONFIG;
use super::output_files::{REPORT, SUMMARY, output_name};
use super::output_shard::OutputShard;
use super::report::JobReport;
use super::{output_config, summary};
use crate::result::formats::format::Format;

/// Writes the whole output, and replaces any incomplete output. `progress` gets (layers written, layers).
pub(super) fn write(job: &JobContext, progress: &dyn Fn(usize, usize)) -> Result<(), CheckpointError> {
    // A report says that the output is complete.
    job.folder.remove_output(REPORT)?;
    let layers = &job.selection.layers;
    let mut of_tensor: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, layer) in layers.iter().enumerate() {
        of_tensor.entry(&layer.tensor).or_default().push(index);
    }
    let dropped: BTreeSet<&str> = job.selection.dropped.iter().map(|tensor| tensor.name.as_str()).collect();
    let mut report = JobReport::new(job);
    let (mut reports, mut done) = (vec![None; layers.len()], 0);
    let (mut weight_map, mut total) = (Map::new(), 0);
    for shard in &job.checkpoint.shards {
        let mut output = OutputShard::new(job, shard)?;
        for name in shard.tensors().into_iter().filter(|name| !dropped.contains(name.as_str())) {
            match of_tensor.get(name.as_str()) {
                None => report.copied_bytes += output.copy(name) as u64,
                Some(indices) => {
                    for &index in indices {
                        reports[index] = Some(output.store(index)?);
                        done += 1;
                        progress(done, layers.len());
                    }
                }
            }
        }
        let shard_name = shard.name();
        let file = output_name(&shard_name, job.settings.format);
        weight_map.extend(output.names().map(|name| (name.to_owned(), json!(file))));
        total += output.data_len();
        report.files.push(output.write()?);
    }
    report.layers = reports.into_iter().flatten().collect();
    write_index(job, weight_map, total)?;
    copy_side_files(job)?;
    job.folder.put_output(SUMMARY, summary::page(&report)?.as_bytes())?;
    job.folder.put_output(REPORT, report.text().as_bytes())
}

/// Copies the files that hold no weights, and changes `config.json` where the format needs it.
fn copy_side_files(job: &JobContext) -> Result<(), CheckpointError> {
    for file in &job.side_files.copied {
        let config = job.config.as_ref().filter(|_| file.as_os_str() == CONFIG);
        match config.and_then(|config| output_config::changed(job, config)) {
            Some(text) => job.folder.put_output(CONFIG, text.as_bytes())?,
            None => job.folder.copy_output(&job.checkpoint.path().join(file), file)?,
        }
    }
    Ok(())
}

/// Writes the index, if the checkpoint has one.
fn write_index(job: &JobContext, weight_map: Map<String, Value>, total: usize) -> Result<(), CheckpointError> {
    let Some(index) = &job.checkpoint.index else { return Ok(()) };
    let format = job.settings.format;
    let text = index.rewritten(weight_map, total, format == Format::Reconstructed);
    job.folder.put_output(&output_name(&index.name, format), text.as_bytes())
}
