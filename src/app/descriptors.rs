//! File descriptors: one for each connection, and some for everything else.

use tracing::warn;

use crate::{
    edge::settings::ServerSettings, http::webhook::MAX_CONNECTIONS as MAX_WEBHOOK_CONNECTIONS,
};

/// Descriptors for stores, files and the admin port.
const RESERVED: u64 = 512;
/// Connections that are being closed to make room are at most this part of all:
/// one sixteenth.
const CLOSING_PART: u64 = 16;

/// How many file descriptors a server needs for all its connections.
#[must_use]
pub fn needed_descriptors(settings: &ServerSettings, with_webhook: bool) -> u64 {
    with_closing(settings.max_connections) + reserved(settings, with_webhook)
}

/// The settings with as many connections as there are descriptors for; raises the
/// process's limit if it can. Without a free descriptor no store could be reached.
pub(super) fn within_descriptors(settings: &ServerSettings, with_webhook: bool) -> ServerSettings {
    let needed = needed_descriptors(settings, with_webhook);
    let available = rlimit::increase_nofile_limit(needed).unwrap_or(needed);
    if available >= needed {
        return settings.clone();
    }
    let reserved = reserved(settings, with_webhook).min(available / 2);
    let for_connections = available - reserved;
    let max_connections = for_connections - for_connections / CLOSING_PART;
    warn!(
        descriptors = available,
        max_connections,
        "too few file descriptors for RECSYS_MAX_CONNECTIONS: fewer connections are accepted; \
         raise the limit (ulimit -n)"
    );
    ServerSettings {
        max_connections: usize::try_from(max_connections).unwrap_or(usize::MAX),
        ..settings.clone()
    }
}

/// Descriptors for everything but the API's connections.
fn reserved(settings: &ServerSettings, with_webhook: bool) -> u64 {
    if with_webhook {
        RESERVED + with_closing(MAX_WEBHOOK_CONNECTIONS.min(settings.max_connections))
    } else {
        RESERVED
    }
}

fn with_closing(connections: usize) -> u64 {
    let connections = connections as u64;
    connections + connections / CLOSING_PART
}
