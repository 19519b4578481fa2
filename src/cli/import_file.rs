//! The file that a command imports: a named one, or a pipe.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use crate::tables::TableError;

/// A file that can be read from its start more than once. What comes from standard
/// input or another pipe is copied to a temporary file first.
pub(super) struct ImportFile {
    named: PathBuf,
    copy: Option<NamedTempFile>,
}

impl ImportFile {
    /// Opens a file; `-` is standard input.
    ///
    /// # Errors
    /// [`TableError::Io`] if it cannot be read or copied.
    pub(super) fn open(path: &Path) -> Result<Self, TableError> {
        let unreadable = |source| TableError::Io {
            path: path.to_owned(),
            source,
        };
        let copy = if is_pipe(path) {
            Some(copied(path).map_err(unreadable)?)
        } else {
            None
        };
        Ok(Self {
            named: path.to_owned(),
            copy,
        })
    }

    /// Where its contents are.
    pub(super) fn path(&self) -> &Path {
        let copy = self.copy.as_ref();
        copy.map_or(&self.named, |copy| copy.path())
    }

    /// The path that the user gave.
    pub(super) fn named(&self) -> &Path {
        &self.named
    }
}

/// Whether a path can be read only once.
pub(super) fn is_pipe(path: &Path) -> bool {
    let is_other = fs::metadata(path).is_ok_and(|about| !about.is_file() && !about.is_dir());
    path.as_os_str() == "-" || is_other
}

fn copied(path: &Path) -> io::Result<NamedTempFile> {
    let mut copy = NamedTempFile::new()?;
    if path.as_os_str() == "-" {
        io::copy(&mut io::stdin().lock(), &mut copy)?;
    } else {
        io::copy(&mut File::open(path)?, &mut copy)?;
    }
    Ok(copy)
}
