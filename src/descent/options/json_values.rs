//! Values of the JSON of options that serde does not read as they should be.

use serde::{Deserialize, Deserializer};

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
