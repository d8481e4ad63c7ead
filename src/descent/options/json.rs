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

/// Reads a value that is present, and refuses `null`.
pub(super) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// A duration as a number of seconds, or `null`.
pub(super) mod seconds {
    use std::time::Duration;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::descent::options::positive_duration;

    pub fn serialize<S: Serializer>(budget: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        budget.map(|budget| budget.as_secs_f64()).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        match Option::<f64>::deserialize(deserializer)? {
            None => Ok(None),
            Some(seconds) if seconds < 0.0 => Err(D::Error::custom(format_args!("{seconds} s is below zero"))),
            Some(0.0) => Ok(Some(Duration::ZERO)),
            Some(seconds) => Ok(Some(positive_duration(seconds))),
        }
    }
}
