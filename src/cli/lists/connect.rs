//! The server that lists come from.

use std::time::Duration;

use tonic::{Request, transport::Channel};

use super::error::ListError;
use crate::{
    app::is_public_plaintext,
    cli::server_endpoint::{GivenServer, ServerEndpoint},
    config::{ListFlags, Settings},
    telemetry::error_chain::causes,
};

const TIMEOUT: Duration = Duration::from_secs(10);
/// Largest reply.
pub(super) const MAX_REPLY_BYTES: usize = 16 << 20;

/// A server, with an open connection.
pub(super) struct ListServer {
    pub(super) channel: Channel,
    server: ServerEndpoint,
}

impl ListServer {
    pub(super) async fn open(settings: &Settings, flags: &ListFlags) -> Result<Self, ListError> {
        let given = GivenServer {
            to: flags.to.as_deref(),
            key: flags.key.as_ref(),
            ca_file: flags.ca_file.as_deref(),
        };
        let server = ServerEndpoint::new(settings, &given)?;
        let url = &server.url;
        if flags.key.is_some() && is_public_plaintext(url) {
            anstream::eprintln!(
                "{url} is outside private networks and has no TLS: the key is sent in plaintext"
            );
        }
        let endpoint = server.endpoint.clone();
        let endpoint = endpoint.connect_timeout(TIMEOUT).timeout(TIMEOUT);
        let channel = endpoint.connect().await.map_err(|error| {
            let causes = causes(&error);
            let url = url.clone();
            ListError::Unreachable { url, causes }
        })?;
        Ok(Self { channel, server })
    }

    /// A request with the key.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        self.server.request(message)
    }
}
