//! Reading a value from a JSON object, with errors that name the key.

use serde::Deserializer;
use serde::de::DeserializeOwned;

use crate::bytes::keys::check_unique;
use crate::error::Error;

/// The key of errors that concern the whole text.
const DOCUMENT: &str = "document";

/// Reads a value from a JSON object. The value's type must refuse unknown keys itself.
///
/// # Errors
/// [`Error::Json`] where the text is not a JSON object, has a key twice, or a value is refused.
pub(crate) fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, Error> {
    let refuse = |key: &str, problem: String| Err(Error::Json { key: key.to_owned(), problem });
    if let Err(error) = check_unique(json) {
        return refuse(DOCUMENT, error.to_string());
    }
    // Serde would also read an array that holds all values in the order of the fields.
    if !json.trim_ascii_start().starts_with(b"{") {
        return refuse(DOCUMENT, "is not a JSON object".to_owned());
    }
    deserialize(&mut serde_json::Deserializer::from_slice(json))
}

/// Does the same as [`read`] for an object that was parsed before; errors then name no line and column.
///
/// # Errors
/// [`Error::Json`] where a value is refused.
#[cfg(feature = "checkpoint")]
pub(crate) fn read_keys<T: DeserializeOwned>(keys: serde_json::Map<String, serde_json::Value>) -> Result<T, Error> {
    deserialize(serde_json::Value::Object(keys))
}

fn deserialize<'de, T: DeserializeOwned>(json: impl Deserializer<'de, Error = serde_json::Error>) -> Result<T, Error> {
    serde_path_to_error::deserialize(json).map_err(|error| {
        let path = error.path().to_string();
        let key = if path == "." { DOCUMENT } else { path.as_str() };
        let problem = error.inner().to_string();
        // The error of a text that is parsed, a pattern for instance, may name its key too.
        let problem = problem.strip_prefix(&format!("{key}: ")).unwrap_or(&problem).to_owned();
        Error::Json { key: key.to_owned(), problem }
    })
}
