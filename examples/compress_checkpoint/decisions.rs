//! What the job decided before it runs: the files that it reads, the tensors that it copies and why, and its warnings.

use std::collections::BTreeMap;
use std::io::{self, Write};

use armor_core::checkpoint::{CopiedTensor, Job};
use serde_json::Value;

use crate::terminal::{plain, say};

/// Prints the warnings to the standard error stream.
pub fn warn(job: &Job) {
    for warning in job.warnings() {
        // Where nobody reads it, the work goes on.
        let _ = writeln!(io::stderr(), "warning: {}", plain(warning));
    }
}

/// Prints which files are read and which are not, and how many tensors are copied for each reason.
pub fn print(job: &Job) -> io::Result<()> {
    let plan: Value = serde_json::from_str(&job.plan()).expect("a plan is JSON");
    let texts = |key: &str| plan[key].as_array().into_iter().flatten();
    for key in ["checkpoint_files", "hessian_files"] {
        let files: Vec<&str> = texts(key).filter_map(Value::as_str).collect();
        let shown = match files[..] {
            [first, .., last] => format!("{} files, {first} to {last}", files.len()),
            _ => files.concat(),
        };
        say(format!("{} from {}", key.split('_').next().unwrap_or(key), plain(&shown)))?;
        for file in texts(&format!("{key}_not_read")) {
            let text = |key: &str| file[key].as_str().unwrap_or_default().to_owned();
            say(format!("  not read: {}, because {}", plain(&text("file")), plain(&text("reason"))))?;
        }
    }
    for file in texts("files_not_copied") {
        let text = |key: &str| plain(file[key].as_str().unwrap_or_default());
        say(format!("file not copied: {}, because {}", text("file"), text("reason")))?;
    }
    let mut kinds: BTreeMap<&str, Vec<&CopiedTensor>> = BTreeMap::new();
    for tensor in job.copied() {
        let kind = tensor.reason.split(" from ").next().unwrap_or_default();
        kinds.entry(kind).or_default().push(tensor);
    }
    for (kind, tensors) in kinds {
        let (count, example) = (tensors.len(), tensors[0]);
        let example = match example.reason == kind {
            true => plain(&example.name),
            false => format!("{}, which {}", plain(&example.name), plain(&example.reason)),
        };
        say(format!("copied, because it {}: {count} tensors, such as {example}", plain(kind)))?;
    }
    Ok(())
}
