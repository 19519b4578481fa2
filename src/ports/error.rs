//! The error of the stores.

use std::{error::Error, fmt};

/// What kind of failure a store reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// It cannot be reached, or does not answer in time. Trying again helps.
    Unavailable,
    /// The settings that lead to it are wrong, such as its key or port. Trying
    /// again does not help until they are mended.
    Misconfigured,
    /// It is full. Trying again helps once there is room.
    Full,
    /// It holds something that it should not, or answered nonsense.
    Corrupt,
    /// It is not set up as it must be: the error's text says what to mend, and
    /// may be told to clients.
    Unprepared,
}

impl StoreErrorKind {
    /// How many there are.
    pub const COUNT: usize = Self::Unprepared as usize + 1;

    /// Its name in metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Misconfigured => "misconfigured",
            Self::Full => "full",
            Self::Corrupt => "corrupt",
            Self::Unprepared => "unprepared",
        }
    }
}

/// A store could not do what it was asked.
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    context: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl StoreError {
    /// An error of a kind, with what was being done.
    #[must_use]
    pub fn new(kind: StoreErrorKind, context: impl Into<String>) -> Self {
        Self {
            kind,
            context: context.into(),
            source: None,
        }
    }

    /// With the error that caused it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What kind of failure it is.
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
