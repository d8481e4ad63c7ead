//! What a job is going to do with every file and tensor, as JSON: known from the headers, before any layer runs.

use serde_json::{Map, Value, json};

use super::context::JobContext;
use super::overrides::differing_options;
use super::selected_tensor::SelectedTensor;
use super::source::Source;

/// The decisions that the plan and the report share: which files are read, which are copied and which are neither, which
/// tensors are copied or dropped and why, and which Hessians match no weight.
pub(super) fn decisions(job: &JobContext) -> Map<String, Value> {
    let files = |source: &Source| source.shards.iter().map(|shard| shard.name()).collect::<Vec<_>>();
    let hessians = job.hessians.as_ref();
    let copied_files: Vec<_> = job.side_files.copied.iter().map(|file| file.to_string_lossy()).collect();
    let decisions = [
        ("checkpoint_files", json!(files(&job.checkpoint))),
        ("checkpoint_files_not_read", json!(job.checkpoint.skipped)),
        ("hessian_files", json!(hessians.map(files).unwrap_or_default())),
        ("hessian_files_not_read", json!(hessians.map(|source| source.skipped.as_slice()).unwrap_or_default())),
        ("files_copied", json!(copied_files)),
        ("files_not_copied", json!(job.side_files.skipped)),
        ("copied", json!(job.selection.copied)),
        ("dropped", json!(job.selection.dropped)),
        ("unmatched_hessians", json!(job.selection.unmatched)),
    ];
    decisions.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// The text of the plan.
pub(super) fn text(job: &JobContext) -> String {
    let mut plan = decisions(job);
    plan.insert("warnings".to_owned(), json!(job.all_warnings().collect::<Vec<_>>()));
    plan.insert("layers".to_owned(), job.selection.layers.iter().map(|layer| description(layer, job)).collect());
    format!("{:#}\n", Value::Object(plan))
}

fn description(layer: &SelectedTensor, job: &JobContext) -> Value {
    json!({
        "name": layer.name,
        "tensor": layer.tensor,
        "slice": layer.slice,
        "file": layer.file,
        "hessian": layer.hessian,
        "rows": layer.rows,
        "cols": layer.cols,
        "transposed": layer.transposed,
        "dtype": layer.dtype,
        "options": differing_options(layer, &job.settings),
        "tokens": layer.tokens,
        "bytes": layer.bytes,
    })
}
