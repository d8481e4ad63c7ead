//! The summary table: the layers by kind, as the report tells of them.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;

use armor_core::checkpoint::Job;
use serde_json::Value;

use crate::terminal::{plain, say};

/// Sums over the layers of one kind.
#[derive(Default)]
struct Kind {
    layers: usize,
    /// Fewest calibration tokens of a layer, where they are known.
    tokens: Option<u64>,
    entries: f64,
    before: f64,
    after: f64,
    bytes_before: f64,
    bytes_after: f64,
}

impl Kind {
    fn add(&mut self, layer: &Value) {
        let number = |key: &str| layer[key].as_f64().unwrap_or(f64::NAN);
        let entries = number("rows") * number("cols");
        self.layers += 1;
        self.tokens = [self.tokens, layer["tokens"].as_u64()].into_iter().flatten().min();
        self.entries += entries;
        self.before += entries * number("nowag_p_loss");
        self.after += entries * number("loss");
        self.bytes_before += number("bytes_before");
        self.bytes_after += number("bytes_after");
    }

    fn print(&self, name: &str) -> io::Result<()> {
        let (before, after) = (self.before / self.entries, self.after / self.entries);
        let lower = if before > 0.0 { 100.0 * (1.0 - after / before) } else { 0.0 };
        let share = 100.0 * self.bytes_after / self.bytes_before;
        let (name, layers) = (plain(name), self.layers);
        let tokens = self.tokens.map_or("?".to_owned(), |tokens| tokens.to_string());
        say(format!("{name:<24}{layers:>8}{tokens:>10}{before:>15.6}{after:>12.6}{lower:>9.1} %{share:>9.1} %"))
    }
}

/// The last component of a layer's name that is neither `weight` nor a number.
fn kind_of(name: &str) -> &str {
    let mut parts = name.strip_suffix(".weight").unwrap_or(name).rsplit('.');
    parts.find(|part| part.parse::<usize>().is_err()).unwrap_or(name)
}

/// Prints the table of a finished job's report, and those of its warnings that were not said before the job ran.
pub fn print(job: &Job) -> Result<(), Box<dyn Error>> {
    let report: Value = serde_json::from_str(&job.report()?)?;
    let said: Vec<&str> = job.warnings().collect();
    let (mut kinds, mut total) = (BTreeMap::<&str, Kind>::new(), Kind::default());
    for layer in report["layers"].as_array().into_iter().flatten() {
        let name = layer["name"].as_str().unwrap_or_default();
        kinds.entry(kind_of(name)).or_default().add(layer);
        total.add(layer);
    }
    let (counts, losses) = (("layers", "tokens"), ("pruning alone", "loss", "lower", "size"));
    let (before, after, lower, size) = losses;
    say(format!("{:<24}{:>8}{:>10}{before:>15}{after:>12}{lower:>11}{size:>11}", "weights", counts.0, counts.1))?;
    for (name, kind) in &kinds {
        kind.print(name)?;
    }
    total.print("all")?;
    say(format!("{} other tensors are copied", report["total"]["copied_tensors"]))?;
    let warnings = report["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str);
    for warning in warnings.filter(|warning| !said.contains(warning)) {
        say(format!("warning: {}", plain(warning)))?;
    }
    Ok(())
}
