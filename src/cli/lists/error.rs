//! Why no list was printed.

use tonic::{Code, Status};

use crate::cli::server_endpoint::InvalidServer;

/// No list was printed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListError {
    #[error(transparent)]
    Server(#[from] InvalidServer),
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
            Self::Server(_) | Self::Flag { .. } => true,
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
