//! The running server that a command calls.

use std::{
    io,
    path::{Path, PathBuf},
};

use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, ClientTlsConfig, Endpoint},
};

use super::healthcheck::reachable;
use crate::{config::Settings, parsers::Secret};

/// The flags that name a server.
pub(super) struct GivenServer<'a> {
    /// Its URL; `None`: the server of the settings on this machine.
    pub(super) to: Option<&'a str>,
    pub(super) key: Option<&'a Secret>,
    /// A CA bundle that verifies it; `None`: the system's.
    pub(super) ca_file: Option<&'a Path>,
}

/// The server's URL, key or CA bundle cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum InvalidServer {
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
}

/// A server, and the key for it.
pub(super) struct ServerEndpoint {
    pub(super) url: String,
    pub(super) endpoint: Endpoint,
    key: Option<MetadataValue<Ascii>>,
}

impl ServerEndpoint {
    /// # Errors
    /// [`InvalidServer`].
    pub(super) fn new(settings: &Settings, given: &GivenServer<'_>) -> Result<Self, InvalidServer> {
        let scheme = match &settings.tls.tls_cert_file {
            Some(_) => "https",
            None => "http",
        };
        let local = || format!("{scheme}://{}", reachable(settings.listen_addr));
        let url = given.to.map_or_else(local, str::to_owned);
        let tls = url.starts_with("https://");
        if !tls && !url.starts_with("http://") {
            return Err(InvalidServer::Url);
        }
        let mut endpoint = Endpoint::from_shared(url.clone()).map_err(|_| InvalidServer::Url)?;
        if tls {
            // Fails if the process has its provider already.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let config = match given.ca_file {
                None => ClientTlsConfig::new().with_native_roots(),
                Some(path) => {
                    let pem = std::fs::read(path).map_err(|source| InvalidServer::File {
                        path: path.to_owned(),
                        source,
                    })?;
                    ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))
                }
            };
            endpoint = endpoint.tls_config(config).map_err(InvalidServer::Ca)?;
        } else if given.ca_file.is_some() {
            return Err(InvalidServer::CaWithoutTls);
        }
        let key = given.key.map(|key| {
            let mut value: MetadataValue<Ascii> = format!("Bearer {}", key.expose())
                .parse()
                .map_err(|_| InvalidServer::Key)?;
            value.set_sensitive(true);
            Ok(value)
        });
        Ok(Self {
            url,
            endpoint,
            key: key.transpose()?,
        })
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
