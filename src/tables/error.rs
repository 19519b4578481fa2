//! Why a file as a whole, or one of its rows, cannot be read.

use std::{io, path::PathBuf};

/// A file of events or items cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// It cannot be opened or read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It has another form than those that are read.
    #[error("{path}: {reason}")]
    Form {
        /// Which file.
        path: PathBuf,
        /// What it is, and what to do.
        reason: String,
    },
    /// A column that is needed, or that `--map` names, is not there.
    #[error("{path}: {reason}")]
    Column {
        /// Which file.
        path: PathBuf,
        /// Which column, which ones there are, and what to do.
        reason: String,
    },
}

/// A row's line number, from 1, with what the row holds or why it is refused.
pub type NumberedRow<T, E = String> = (u64, Result<T, E>);
