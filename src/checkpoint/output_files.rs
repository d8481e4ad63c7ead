//! The names of the output's files. A program that does not know the factors must not find weights in the folder: it
//! would run the model with random numbers in place of the compressed weights.

use std::borrow::Cow;

use crate::result::formats::format::Format;

/// The names of the report and of the page that shows it.
pub(super) const REPORT: &str = "report.json";
pub(super) const SUMMARY: &str = "summary.html";

/// What the names of files with factors start with. `transformers` finds no such name, whatever variant it is asked for.
pub(super) const PREFIX: &str = "armor-";

/// Returns the name of the output's file for a file of the input, weights or index. The format `reconstructed` keeps the
/// names; in any other format `model.safetensors` becomes `armor-model.safetensors`.
pub(super) fn output_name(input: &str, format: Format) -> Cow<'_, str> {
    match format {
        Format::Reconstructed => input.into(),
        _ => format!("{PREFIX}{input}").into(),
    }
}
