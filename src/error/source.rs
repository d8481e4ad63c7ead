//! Errors of other types as sources of the crate's error.

use std::error::Error as StdError;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// An error of any type, which a part of the descent that the caller implements may return.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// An error of another type as a source. Two such errors are equal where their messages are equal.
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
