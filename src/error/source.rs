//! Errors of other types, kept as sources.

use std::error::Error as StdError;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// An error of any type, as a caller's own part of the descent may return it.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// An error of another type, as a source. Two of them are equal where their messages are.
#[derive(Clone)]
pub struct SourceError(Arc<dyn StdError + Send + Sync>);

impl From<BoxError> for SourceError {
    fn from(error: BoxError) -> Self {
        SourceError(error.into())
    }
}

impl Deref for SourceError {
    type Target = dyn StdError + Send + Sync;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl fmt::Debug for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl PartialEq for SourceError {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}
