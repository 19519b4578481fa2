//! Key expiries: what they mean, and how they are written.

use std::time::Duration;

use crate::ports::Version;

/// The reply of PEXPIRETIME for a key that does not exist.
pub(super) const NO_KEY: i64 = -2;
/// The reply of PEXPIRETIME for a key without expiry.
const NO_EXPIRY: i64 = -1;
/// The version of a buffer without expiry, as the reference engine may have left
/// it.
pub(super) const NO_VERSION: Version = Version(0);

/// A buffer's version from the reply of PEXPIRETIME; `None` if there is no
/// buffer.
pub(super) fn version(expiry: i64) -> Option<Version> {
    (expiry != NO_KEY).then(|| u64::try_from(expiry).map_or(NO_VERSION, Version))
}

/// The reply of PEXPIRETIME for a buffer of this version: the inverse of [`version`].
pub(super) fn expiry(version: Option<Version>) -> i64 {
    match version {
        None => NO_KEY,
        Some(NO_VERSION) => NO_EXPIRY,
        Some(version) => i64::try_from(version.0).unwrap_or(i64::MAX),
    }
}

/// A time span as scripts and commands take it.
pub(super) fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
