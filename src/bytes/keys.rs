//! A check that no JSON object has a key twice: the parser would keep the last one without an error.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Checks that no object of a JSON text, at any depth, has a key twice.
///
/// # Errors
/// The first key that stands twice, or the place where the text is not valid JSON.
pub(crate) fn check_unique(json: &[u8]) -> Result<(), serde_json::Error> {
    serde_json::from_slice(json).map(|Unique| ())
}

/// Any JSON value; only its keys are checked, nothing is kept.
struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Unique)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            map.next_value::<Unique>()?;
            if let Some(twice) = seen.replace(key) {
                return Err(A::Error::custom(format!("has the key \"{twice}\" twice")));
            }
        }
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self, A::Error> {
        while entries.next_element::<Unique>()?.is_some() {}
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_twice_there_is_named_at_any_depth() {
        let problem = |json: &str| check_unique(json.as_bytes()).err().map(|error| error.to_string());
        assert_eq!(problem(r#"{"a": [1, -1, 1.5, null, true, "a"], "b": {"a": {}}}"#), None);
        assert_eq!(problem(r#"{"a": 1, "a": 1}"#).as_deref(), Some("has the key \"a\" twice at line 1 column 16"));
        assert!(problem(r#"[{"b": {"c": 1, "d": 2, "c": 3}}]"#).is_some_and(|problem| problem.contains("\"c\" twice")));
        assert!(problem("{").is_some());
    }
}
