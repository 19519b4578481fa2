//! Why a file as a whole, or one of its rows, cannot be read.

use std::{
    io,
    path::{Path, PathBuf},
};

/// A file of events or items cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// It cannot be opened or read.
    #[error("cannot read {}: {source}", named(path))]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It has another form than those that are read.
    #[error("{}: {reason}", named(path))]
    Form {
        /// Which file.
        path: PathBuf,
        /// What it is, and what to do.
        reason: String,
    },
    /// A column that is needed, or that `--map` names, is not there.
    #[error("{}: {reason}", named(path))]
    Column {
        /// Which file.
        path: PathBuf,
        /// Which column, which ones there are, and what to do.
        reason: String,
    },
}

impl TableError {
    /// Whether it holds for all rows, so that what is wrong with each says no more.
    #[must_use]
    pub fn is_of_all_rows(&self) -> bool {
        match self {
            Self::Form { .. } | Self::Column { .. } => true,
            Self::Io { .. } => false,
        }
    }

    /// The same error of another file.
    #[must_use]
    pub fn of(self, path: &Path) -> Self {
        let path = path.to_owned();
        match self {
            Self::Io { source, .. } => Self::Io { path, source },
            Self::Form { reason, .. } => Self::Form { path, reason },
            Self::Column { reason, .. } => Self::Column { path, reason },
        }
    }
}

/// A path as messages name it.
fn named(path: &Path) -> String {
    if path.as_os_str() == "-" {
        return "standard input".to_owned();
    }
    path.display().to_string()
}

/// A row's line number, from 1, with what the row holds or why it is refused.
pub type NumberedRow<T, E = String> = (u64, Result<T, E>);
