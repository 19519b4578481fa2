//! The error of the stores.

use std::{error::Error, fmt};

/// The kind of a store's failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// It cannot be reached, or does not answer in time. Retrying helps.
    Unavailable,
    /// Its connection settings are wrong, such as its key or port. Retrying does
    /// not help until they are fixed.
    Misconfigured,
    /// It is full. Retrying helps once there is room.
    Full,
    /// It contains invalid data, or gave an invalid answer.
    Corrupt,
    /// It is not set up. The error's text says what to do, and may be shown to
    /// clients.
    Unprepared,
    /// It is loading its data. The error's text says how far it is.
    Starting,
}

impl StoreErrorKind {
    /// Number of kinds.
    pub const COUNT: usize = Self::Starting as usize + 1;

    /// Its name in metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Misconfigured => "misconfigured",
            Self::Full => "full",
            Self::Corrupt => "corrupt",
            Self::Unprepared => "unprepared",
            Self::Starting => "starting",
        }
    }
}

/// An operation of a store failed.
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    context: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl StoreError {
    /// An error of a kind, with a description of the operation.
    #[must_use]
    pub fn new(kind: StoreErrorKind, context: impl Into<String>) -> Self {
        Self {
            kind,
            context: context.into(),
            source: None,
        }
    }

    /// Adds the error that caused it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn Error + 'static))
    }
}
