//! The file of one finished layer, kept until the job is finished: the factors in f32, the digests of the inputs that
//! they were made from, what was measured where the caller calibrated the layer, and a digest of the file itself.

use serde_json::{Value, json};

use super::calibration::MeasuredLayer;
use super::digest;
use super::source::LayerDigests;
use crate::bytes::header::{Words, split};
use crate::error::Error;
use crate::factors::precision::Precision;
use crate::result::factorization::Factorization;
use crate::result::formats::factors::metadata;
use crate::result::formats::format::Format;

/// Metadata keys: the job, the weight and the calibration that the factors are of, what was measured, as JSON, and the
/// digest of all but itself.
const JOB: &str = "armor.job";
const WEIGHT: &str = "armor.weight_sha256";
const CALIBRATION: &str = "armor.calibration_sha256";
const MEASURED: &str = "armor.measured";
const DIGEST: &str = "armor.sha256";

/// The factors of a layer, and the digests of their inputs.
pub(super) struct LayerPart {
    pub result: Factorization,
    pub inputs: LayerDigests,
    /// Where the caller calibrated the layer.
    pub measured: Option<MeasuredLayer>,
}

impl LayerPart {
    /// Writes the file of the layer with the name `stem`, in the job with the digest `job`.
    pub fn to_bytes(&self, stem: &str, job: &str) -> Result<Vec<u8>, Error> {
        let mut words = metadata(&self.result, "");
        words.insert(JOB.to_owned(), job.to_owned());
        words.insert(WEIGHT.to_owned(), self.inputs.weight.clone());
        words.insert(CALIBRATION.to_owned(), self.inputs.calibration.clone());
        if let Some(measured) = &self.measured {
            words.insert(MEASURED.to_owned(), json!(measured).to_string());
        }
        let file = |words: Words| self.result.to_file(stem, (Format::Factors, Precision::F32.into()), words);
        let digest = digest_of(&file(words.clone())?)?;
        words.insert(DIGEST.to_owned(), digest);
        file(words)
    }

    /// Reads a file; the error says what is wrong with it.
    pub fn read(bytes: &[u8], stem: &str, job: &str) -> Result<Self, String> {
        let damaged = |error: Error| match error {
            Error::Bytes { key, problem } => format!("is damaged: {key}: {problem}"),
            other => format!("is damaged: {other}"),
        };
        let digest = digest_of(bytes).map_err(damaged)?;
        let (result, mut words) = Factorization::with_words(bytes, stem).map_err(damaged)?;
        if words.get(DIGEST) != Some(&digest) {
            return Err("is damaged: its digest is another".to_owned());
        }
        if words.get(JOB).is_none_or(|found| found != job) {
            return Err("is of another job".to_owned());
        }
        let mut word = |key| words.remove(key).ok_or_else(|| format!("is damaged: it lacks {key}"));
        let inputs = LayerDigests { weight: word(WEIGHT)?, calibration: word(CALIBRATION)? };
        let measured = words.remove(MEASURED).map(|text| serde_json::from_str(&text)).transpose();
        let measured = measured.map_err(|error| format!("is damaged: {MEASURED}: {error}"))?;
        Ok(LayerPart { result, inputs, measured })
    }
}

/// The digest of a file without the one in it.
fn digest_of(bytes: &[u8]) -> Result<String, Error> {
    let (header, data) = split(bytes)?;
    let mut header: Value =
        serde_json::from_slice(header).map_err(|error| crate::bytes::header::refuse("header", error))?;
    if let Some(words) = header.get_mut("__metadata__").and_then(Value::as_object_mut) {
        words.remove(DIGEST);
    }
    Ok(digest::of([header.to_string().as_bytes(), data]))
}
