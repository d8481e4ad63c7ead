//! The JSON of options.

use serde::{Deserialize, Deserializer};

use super::Options;
use super::changes::OptionChanges;

#[cfg(feature = "safetensors")]
impl Options {
    /// Reads options from a JSON object; the type's documentation describes its keys. The values are not checked against
    /// their ranges: [`Options::validate`] does so.
    ///
    /// ```
    /// use armor_core::Options;
    /// let options = Options::from_json(br#"{"preset": "paper", "block": [32, 64], "iterations": 500}"#)?;
    /// assert_eq!(options, Options::paper().left_block(32).right_block(64).iterations(500));
    /// # Ok::<(), armor_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Json`](crate::Error::Json) for text that is not a JSON object, for an unknown key, for a key that occurs
    /// twice, and for a value of the wrong type.
    pub fn from_json(json: &[u8]) -> Result<Self, crate::error::Error> {
        crate::bytes::json::read(json)
    }

    /// Writes every option to a JSON object, which [`Options::from_json`] reads. A number that is not finite, which
    /// [`Options::validate`] refuses, becomes `null`, which `from_json` refuses.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("options consist of numbers and words")
    }
}

#[cfg(feature = "safetensors")]
impl OptionChanges {
    /// Reads changes from a JSON object, as [`Options::from_json`] reads options.
    ///
    /// # Errors
    /// As [`Options::from_json`].
    pub fn from_json(json: &[u8]) -> Result<Self, crate::error::Error> {
        crate::bytes::json::read(json)
    }
}

impl<'de> Deserialize<'de> for Options {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        OptionChanges::deserialize(deserializer).map(|changes| changes.over(&Options::exact()))
    }
}
