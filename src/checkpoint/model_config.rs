//! `config.json` of a model: read before anything runs, and written with changes.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use super::error::{CheckpointError, file_error, io_error};

/// The file's name.
pub(super) const NAME: &str = "config.json";

/// The key that names the file of the weights, where it is not the usual one.
pub(super) const WEIGHTS: &str = "transformers_weights";

/// Numbers that Python writes and JSON does not know. While the text is an object, each is a string with this mark before
/// it.
const NON_FINITE: [&str; 3] = ["-Infinity", "Infinity", "NaN"];
const MARK: char = '\0';

/// The content of the file.
#[derive(Clone)]
pub(super) struct ModelConfig {
    pub keys: Map<String, Value>,
}

impl ModelConfig {
    /// Reads the file of a model's folder, if there is one. Beside a checkpoint of one file, a file that cannot be read
    /// may belong to something else, and is ignored.
    pub fn read(checkpoint: &Path) -> Result<Option<Self>, CheckpointError> {
        let folder = if checkpoint.is_dir() { Some(checkpoint) } else { checkpoint.parent() };
        let Some(path) = folder.map(|folder| folder.join(NAME)).filter(|path| path.is_file()) else { return Ok(None) };
        let config = fs::read_to_string(&path).map_err(io_error(&path)).and_then(|text| {
            let keys = serde_json::from_str(&marked(text.trim_start_matches('\u{feff}')));
            Ok(ModelConfig { keys: keys.map_err(|error| file_error(&path, format!("is not a JSON object: {error}")))? })
        });
        if checkpoint.is_dir() { config.map(Some) } else { Ok(config.ok()) }
    }

    /// Writes the content as the text of a file.
    pub fn text(&self) -> String {
        let mut text = format!("{:#}\n", Value::Object(self.keys.clone()));
        for number in NON_FINITE {
            text = text.replace(&Value::from(format!("{MARK}{number}")).to_string(), number);
        }
        text
    }

    /// The values of all keys `model_type`, those of parts of the model too.
    pub fn model_types(&self) -> Vec<String> {
        fn collect(keys: &Map<String, Value>, found: &mut Vec<String>) {
            found.extend(keys.get("model_type").and_then(Value::as_str).map(str::to_owned));
            keys.values().filter_map(Value::as_object).for_each(|keys| collect(keys, found));
        }
        let mut found = Vec::new();
        collect(&self.keys, &mut found);
        found
    }

    /// The file of the weights that the configuration names.
    pub fn weights(&self) -> Option<&str> {
        self.keys.get(WEIGHTS).and_then(Value::as_str)
    }
}

/// Replaces the numbers that JSON does not know, outside of strings, by marked strings.
fn marked(text: &str) -> String {
    let (mut out, mut rest, mut in_string) = (String::new(), text, false);
    while let Some(next) = rest.chars().next() {
        if !in_string && let Some(number) = NON_FINITE.iter().find(|number| rest.starts_with(**number)) {
            out += &Value::from(format!("{MARK}{number}")).to_string();
            rest = &rest[number.len()..];
            continue;
        }
        let taken = match next {
            '\\' if in_string => rest.char_indices().nth(2).map_or(rest.len(), |(at, _)| at),
            _ => next.len_utf8(),
        };
        in_string ^= next == '"';
        out += &rest[..taken];
        rest = &rest[taken..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_json_does_not_know_stay() {
        let text = "\u{feff}{\"a\": [0.0, Infinity, -Infinity, NaN], \"b\": \"NaN \\\" Infinity\"}";
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join(NAME), text).expect("can be written");
        let config = ModelConfig::read(folder.path()).expect("sound").expect("is there");
        assert_eq!(config.keys["b"], "NaN \" Infinity");
        let lines: Vec<String> = config.text().lines().map(|line| line.trim().to_owned()).collect();
        assert_eq!(lines[2..6], ["0.0,", "Infinity,", "-Infinity,", "NaN"]);
    }
}
