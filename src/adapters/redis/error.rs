//! What Redis errors mean: which are worth a retry, and the store error that
//! callers get.

use deadpool::managed::PoolError;
use deadpool_redis::redis::{ErrorKind, RedisError, ServerErrorKind};

use super::redacted_error::RedactedError;
use crate::ports::{StoreError, StoreErrorKind};

/// Whether the server is a replica, which takes no writes.
pub(super) fn is_read_only(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
}

/// Whether to try the command again on another connection. Not after a
/// timeout: the caller's deadline has passed, too.
pub(super) fn is_worth_retrying(error: &RedisError) -> bool {
    is_read_only(error) || (error.is_unrecoverable_error() && !error.is_timeout())
}

/// Whether a connection was lost during its handshake. Unlike one that was
/// refused, it reached a server.
pub(super) fn is_lost_in_handshake(error: &RedisError) -> bool {
    let lost = error.is_connection_dropped() && !error.is_connection_refusal();
    lost || error.kind() == ErrorKind::Parse
}

/// The store error for a pool that has no connection to give.
pub(super) fn pool_error(operation: &'static str, error: PoolError<RedisError>) -> StoreError {
    let context = format!("redis {operation}: no connection");
    match error {
        PoolError::Backend(error) => {
            StoreError::new(kind(&error), context).caused_by(RedactedError::from(&error))
        }
        PoolError::Timeout(_)
        | PoolError::Closed
        | PoolError::NoRuntimeSpecified
        | PoolError::PostCreateHook(_) => {
            StoreError::new(StoreErrorKind::Unavailable, context).caused_by(error)
        }
    }
}

/// The store error for a command that failed.
pub(super) fn store_error(operation: &'static str, error: &RedisError) -> StoreError {
    StoreError::new(kind(error), format!("redis {operation} failed"))
        .caused_by(RedactedError::from(error))
}

/// The store error for a reply of another shape than the script's.
pub(super) fn malformed_reply(operation: &'static str) -> StoreError {
    let context = format!("redis {operation}: malformed reply");
    StoreError::new(StoreErrorKind::Corrupt, context)
}

/// The store error for a Redis whose scripts have no time, in microseconds since the
/// epoch.
pub(super) fn no_time_in_scripts(time_us: i64) -> StoreError {
    let context = format!("redis is misconfigured: TIME is {time_us} inside of scripts");
    StoreError::new(StoreErrorKind::Misconfigured, context)
}

/// Whether the detail of an error says that the server lacks a command, or cannot
/// run scripts as Redis 7 does.
pub(super) fn is_unknown_command(detail: &str) -> bool {
    let detail = detail.to_ascii_lowercase();
    [
        "unknown command",
        "unknown redis command",
        "error compiling script",
    ]
    .iter()
    .any(|text| detail.contains(text))
}

fn kind(error: &RedisError) -> StoreErrorKind {
    // In a pipeline each command has an error of its own; the first decides.
    let of_pipeline = error.clone().into_server_errors();
    let code = error.code().map(str::to_owned).or_else(|| {
        let (_, first) = of_pipeline.as_ref()?.first()?;
        Some(first.code().to_owned())
    });
    match (code.as_deref(), error.kind()) {
        (Some("OOM"), _) => StoreErrorKind::Full,
        (Some("NOAUTH" | "WRONGPASS" | "NOPERM"), _)
        | (_, ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig) => {
            StoreErrorKind::Misconfigured
        }
        (Some("ERR"), _) if error.detail().is_some_and(is_unknown_command) => {
            StoreErrorKind::Misconfigured
        }
        (Some("WRONGTYPE"), _) | (_, ErrorKind::UnexpectedReturnType) => StoreErrorKind::Corrupt,
        // A reply that cannot be parsed was cut off: Redis does not store RESP.
        _ => StoreErrorKind::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use deadpool_redis::redis::{ErrorKind, RedisError, ServerErrorKind};

    use super::is_worth_retrying;

    #[test]
    fn only_a_lost_connection_and_a_replica_are_worth_a_retry() {
        let server = |kind| RedisError::from((ErrorKind::Server(kind), "refused by the server"));
        let network = |kind| RedisError::from(io::Error::from(kind));
        for (error, expected) in [
            (network(io::ErrorKind::ConnectionReset), true),
            (network(io::ErrorKind::UnexpectedEof), true),
            (server(ServerErrorKind::ReadOnly), true),
            (network(io::ErrorKind::TimedOut), false),
            (server(ServerErrorKind::BusyLoading), false),
            (server(ServerErrorKind::ResponseError), false),
        ] {
            assert_eq!(is_worth_retrying(&error), expected, "{error:?}");
        }
    }
}
