//! Why no list was printed.

use std::{io, path::PathBuf};

use tonic::{Code, Status};

/// No list was printed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListError {
    #[error("--to is not understood; give http://host:port or https://host:port")]
    Url,
    #[error("RECSYS_KEY holds characters that cannot be sent")]
    Key,
    #[error("RECSYS_SERVER_CA_FILE is set, but --to does not begin with https://")]
    CaWithoutTls,
    #[error("RECSYS_SERVER_CA_FILE: cannot read {path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("RECSYS_SERVER_CA_FILE cannot be used: {0}")]
    Ca(#[source] tonic::transport::Error),
    #[error("{flag} {given:?}: give {expected}")]
    Flag {
        flag: &'static str,
        given: String,
        expected: &'static str,
    },
    #[error("no recsys server answers on {url}{causes}")]
    Unreachable { url: String, causes: String },
    #[error("{}: {}{}", .0.code(), .0.message(), advice(.0))]
    Refused(Box<Status>),
}

impl From<Status> for ListError {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

impl ListError {
    /// Whether a setting or an argument must be fixed before the next try.
    pub(super) fn is_bad_input(&self) -> bool {
        match self {
            Self::Unreachable { .. } => false,
            Self::Refused(status) => [
                Code::InvalidArgument,
                Code::NotFound,
                Code::FailedPrecondition,
                Code::Unauthenticated,
                Code::PermissionDenied,
                Code::Unimplemented,
            ]
            .contains(&status.code()),
            Self::Url
            | Self::Key
            | Self::CaWithoutTls
            | Self::File { .. }
            | Self::Ca(_)
            | Self::Flag { .. } => true,
        }
    }
}

fn advice(status: &Status) -> &'static str {
    let code = status.code();
    if code == Code::Unauthenticated {
        " (RECSYS_KEY)"
    } else if code == Code::PermissionDenied {
        " (the key needs the role serve)"
    } else if code == Code::Unimplemented {
        " (is it a recsys server, and of this version?)"
    } else {
        ""
    }
}
