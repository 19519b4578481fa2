//! The server that lists come from.

use std::time::Duration;

use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use super::error::ListError;
use crate::{
    app::is_public_plaintext,
    cli::healthcheck::reachable,
    config::{ListFlags, Settings},
    telemetry::error_chain::causes,
};

const TIMEOUT: Duration = Duration::from_secs(10);
/// Largest reply.
pub(super) const MAX_REPLY_BYTES: usize = 16 << 20;

/// A server, with an open connection.
pub(super) struct ListServer {
    pub(super) channel: Channel,
    key: Option<MetadataValue<Ascii>>,
}

impl ListServer {
    pub(super) async fn open(settings: &Settings, flags: &ListFlags) -> Result<Self, ListError> {
        let scheme = match &settings.tls.tls_cert_file {
            Some(_) => "https",
            None => "http",
        };
        let local = || format!("{scheme}://{}", reachable(settings.listen_addr));
        let url = flags.to.clone().unwrap_or_else(local);
        let tls = url.starts_with("https://");
        if !tls && !url.starts_with("http://") {
            return Err(ListError::Url);
        }
        let key = match &flags.key {
            None => None,
            Some(key) => {
                let value: Result<MetadataValue<Ascii>, _> =
                    format!("Bearer {}", key.expose()).parse();
                let mut value = value.map_err(|_| ListError::Key)?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        if key.is_some() && is_public_plaintext(&url) {
            anstream::eprintln!(
                "{url} is outside private networks and has no TLS: the key is sent in plaintext"
            );
        }
        let mut endpoint = Endpoint::from_shared(url.clone())
            .map_err(|_| ListError::Url)?
            .connect_timeout(TIMEOUT)
            .timeout(TIMEOUT);
        if tls {
            // Fails if the process has its provider already.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let config = match &flags.ca_file {
                None => ClientTlsConfig::new().with_native_roots(),
                Some(path) => {
                    let pem = std::fs::read(path).map_err(|source| ListError::File {
                        path: path.clone(),
                        source,
                    })?;
                    ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))
                }
            };
            endpoint = endpoint.tls_config(config).map_err(ListError::Ca)?;
        } else if flags.ca_file.is_some() {
            return Err(ListError::CaWithoutTls);
        }
        let channel = endpoint.connect().await.map_err(|error| {
            let causes = causes(&error);
            ListError::Unreachable { url, causes }
        })?;
        Ok(Self { channel, key })
    }

    /// A request with the key.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(key) = &self.key {
            request.metadata_mut().insert("authorization", key.clone());
        }
        request
    }
}
