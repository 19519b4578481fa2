//! Errors of an import, and which of them are final.

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    cli::server_endpoint::InvalidServer,
    tables::{InvalidMapping, TableError},
};

/// The reason of an error that a quota causes.
const OVER_QUOTA: &str = "QUOTA_EXCEEDED";

/// The import failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum EventsImportError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Mapping(#[from] InvalidMapping),
    #[error(transparent)]
    Target(#[from] InvalidServer),
    /// The server refuses the events, and would refuse them again.
    #[error("the server refuses: {}: {}{}", .0.code(), .0.message(), advice(.0))]
    Refused(Box<Status>),
    /// Another server, or the wrong scheme.
    #[error("{0}")]
    WrongPort(String),
    #[error("interrupted: run the same command again to resume")]
    Interrupted,
    /// Nobody can be asked whether to erase users.
    #[error("--replace erases {users} users first: add --yes to confirm")]
    Unconfirmed { users: usize },
    #[error("nothing was erased or imported")]
    Declined,
    /// A user could not be erased.
    #[error(
        "{erased} of {users} users were erased, then: {}: {}{}; run the same command again",
        .cause.code(), .cause.message(), erase_advice(.cause)
    )]
    Erase {
        erased: usize,
        users: usize,
        cause: Box<Status>,
    },
    /// The server lost the events that were sent before, and the file cannot be read
    /// again, or this happened too often.
    #[error(
        "the server has lost the events that it stored during this import; it keeps them in memory \
         unless REDIS_URL is set: run the same command again"
    )]
    DataLost,
    /// The server or its stores do not answer.
    #[error("{cause}; gave up at line {line} (run the same command again to resume)")]
    GaveUp {
        /// The first line that is not known to have arrived.
        line: u64,
        cause: String,
    },
}

impl EventsImportError {
    /// Whether a setting or the file must be fixed before the next try.
    pub(super) fn is_bad_input(&self) -> bool {
        !matches!(
            self,
            Self::GaveUp { .. }
                | Self::Interrupted
                | Self::Declined
                | Self::DataLost
                | Self::Erase { .. }
        )
    }
}

fn erase_advice(status: &Status) -> &'static str {
    if status.code() == Code::PermissionDenied {
        " (the key needs the role erase)"
    } else {
        ""
    }
}

fn advice(status: &Status) -> &'static str {
    let code = status.code();
    if code == Code::Unauthenticated {
        " (RECSYS_KEY)"
    } else if code == Code::PermissionDenied {
        " (the key needs the role ingest)"
    } else if code == Code::Unimplemented {
        " (is it a recsys server, and of this version?)"
    } else if [
        Code::ResourceExhausted,
        Code::OutOfRange,
        Code::InvalidArgument,
    ]
    .contains(&code)
    {
        " (--batch N sends less at once)"
    } else {
        ""
    }
}

/// Why a stream ended before all events were answered.
pub(super) enum StreamFailure {
    /// The file cannot be read.
    File(EventsImportError),
    /// The server ended the stream.
    Status(Box<Status>),
    /// The connection failed.
    Unreachable(String),
    /// The server does not have the events that were sent before.
    DataLost,
    /// Some events must be sent again.
    Retry(String),
    /// Some events must be sent again, after the key's quota has refilled.
    OverQuota,
}

impl From<Status> for StreamFailure {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

impl StreamFailure {
    /// Some events must be sent again for this reason.
    pub(super) fn retry(reason: String) -> Self {
        if reason.starts_with(OVER_QUOTA) {
            Self::OverQuota
        } else {
            Self::Retry(reason)
        }
    }
}

/// Whether a retry would fail in the same way.
pub(super) fn is_final(status: &Status) -> bool {
    let codes = [
        Code::Unauthenticated,
        Code::PermissionDenied,
        Code::Unimplemented,
        Code::InvalidArgument,
        Code::OutOfRange,
    ];
    // A batch larger than the key's whole quota is never accepted.
    let too_large = is_over_quota(status) && status.get_details_retry_info().is_none();
    codes.contains(&status.code()) || too_large
}

pub(super) fn is_over_quota(status: &Status) -> bool {
    let details = status.get_details_error_info();
    details.is_some_and(|info| info.reason == OVER_QUOTA)
}
