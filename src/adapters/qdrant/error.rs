//! What the failures of Qdrant's calls mean, and which settings fix them.

use std::error::Error as _;

use tonic::{Code, Status};

use crate::ports::{StoreError, StoreErrorKind};

/// The store error for a call that failed.
pub(super) fn store_error(operation: &'static str, status: Status) -> StoreError {
    if let Some(field) = field_without_index(&status) {
        let message = format!(
            "{field} has no index in Qdrant, whose strict mode requires one: make it with recsys \
             catalog index {field} TYPE"
        );
        return StoreError::new(StoreErrorKind::Unprepared, message).caused_by(status);
    }
    let (kind, advice) = meaning(&status);
    StoreError::new(kind, format!("qdrant {operation} failed{advice}")).caused_by(status)
}

/// The kind of a failure, and what to do about it.
fn meaning(status: &Status) -> (StoreErrorKind, &'static str) {
    if let Some(advice) = settings_advice(status) {
        return (StoreErrorKind::Misconfigured, advice);
    }
    let kind = match status.code() {
        // A proxy's answer: the code that tonic derives from it says little.
        _ if http_code(status).is_some() => StoreErrorKind::Unavailable,
        Code::NotFound | Code::FailedPrecondition => StoreErrorKind::Unprepared,
        Code::InvalidArgument | Code::Unimplemented | Code::OutOfRange => StoreErrorKind::Corrupt,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => StoreErrorKind::Unavailable,
    };
    (kind, "")
}

/// The field of a search that strict mode refuses, as it has no index.
pub(super) fn field_without_index(status: &Status) -> Option<&str> {
    let (_, rest) = status
        .message()
        .split_once("Index required but not found for \"")?;
    Some(rest.split_once("\" of ")?.0)
}

/// Which settings to fix, if they cause the failure.
fn settings_advice(status: &Status) -> Option<&'static str> {
    let message = status.message();
    if message.contains("invalid peer certificate") {
        return Some(
            " (set QDRANT_TLS_CA_FILE to the CA bundle of Qdrant's certificate, and \
             QDRANT_API_URL to a name that is in the certificate)",
        );
    }
    if message.contains("InvalidContentType") {
        return Some(
            " (QDRANT_API_URL begins with https://, but there is no TLS at that port: begin it \
             with http://)",
        );
    }
    // A server of another protocol: its first bytes are not a frame. Or a proxy
    // that does not route gRPC. Its own failures, and overload, are temporary.
    let is_temporary = |code: u16| code >= 500 || [408, 425, 429].contains(&code);
    if has_cause(status, "frame with invalid size")
        || message.contains("invalid compression flag")
        || http_code(status).is_some_and(|code| !is_temporary(code))
    {
        return Some(
            " (this is not Qdrant's gRPC port, or a proxy is in between: set QDRANT_API_URL to \
             the port of gRPC, usually 6334, or QDRANT_GRPC_PORT)",
        );
    }
    matches!(
        status.code(),
        Code::Unauthenticated | Code::PermissionDenied
    )
    .then_some(" (set QDRANT_API_KEY to a key that may do this)")
}

/// The status code of a plain HTTP answer, which Qdrant's gRPC port never gives.
fn http_code(status: &Status) -> Option<u16> {
    let (_, code) = status
        .message()
        .split_once("grpc-status header missing, mapped from HTTP status code ")?;
    code.parse().ok()
}

fn has_cause(status: &Status, text: &str) -> bool {
    let mut next = status.source();
    while let Some(cause) = next {
        if cause.to_string().contains(text) {
            return true;
        }
        next = cause.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use tonic::{Code, Status};

    use super::meaning;
    use crate::ports::StoreErrorKind;

    #[test]
    fn temporary_failures_are_not_taken_for_wrong_settings() {
        let by_http = |code| {
            let message =
                format!("grpc-status header missing, mapped from HTTP status code {code}");
            meaning(&Status::new(Code::Unimplemented, message)).0
        };
        for code in [301, 400, 401, 403, 404, 405, 415, 464] {
            assert_eq!(by_http(code), StoreErrorKind::Misconfigured, "{code}");
        }
        for code in [408, 429, 500, 502, 503, 504] {
            assert_eq!(by_http(code), StoreErrorKind::Unavailable, "{code}");
        }
        let by_grpc = |code| meaning(&Status::new(code, "")).0;
        for code in [Code::Unauthenticated, Code::PermissionDenied] {
            assert_eq!(by_grpc(code), StoreErrorKind::Misconfigured, "{code}");
        }
        for code in [Code::Unavailable, Code::Unknown, Code::Internal] {
            assert_eq!(by_grpc(code), StoreErrorKind::Unavailable, "{code}");
        }
    }
}
