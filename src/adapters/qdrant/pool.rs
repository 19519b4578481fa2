//! Connections to Qdrant's gRPC API.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Uri, uri::Scheme};
use qdrant_client::qdrant::{
    collections_client::CollectionsClient, points_client::PointsClient,
    qdrant_client::QdrantClient as ServiceClient,
};
use tonic::{
    Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use super::{error::store_error, retry::RetryLostConnection, settings::QdrantSettings};
use crate::{
    adapters::instrument::instrumented,
    ports::{Deadline, StoreError, StoreErrorKind},
};

const GRPC_PORT: u16 = 6334;
pub(super) const REST_PORT: u16 = 6333;
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest reply: a page of items with their vectors.
const MAX_REPLY_BYTES: usize = 64 << 20;

/// Qdrant cannot be set up as configured. Never holds the URL, which may carry
/// a secret.
#[derive(Debug, thiserror::Error)]
pub enum QdrantSetupError {
    /// The URL is not an HTTP URL.
    #[error("QDRANT_API_URL is not understood; give http://host[:port] or https://host[:port]")]
    Url,
    /// The API key is not a valid header value.
    #[error("QDRANT_API_KEY holds characters that cannot be sent")]
    Key,
    /// A CA bundle is set that an unencrypted connection would not use.
    #[error("QDRANT_TLS_CA_FILE is set, but QDRANT_API_URL does not begin with https://")]
    CertificateWithoutTls,
    /// The CA bundle cannot be read.
    #[error("QDRANT_TLS_CA_FILE: cannot read {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        source: std::io::Error,
    },
    /// The CA bundle cannot be used.
    #[error("the connections to Qdrant cannot be set up")]
    Transport(#[from] tonic::transport::Error),
}

/// Adds the API key to each request.
#[derive(Clone)]
pub(super) struct ApiKey(Option<MetadataValue<Ascii>>);

impl Interceptor for ApiKey {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(key) = &self.0 {
            request.metadata_mut().insert("api-key", key.clone());
        }
        Ok(request)
    }
}

type ClientService = InterceptedService<RetryLostConnection, ApiKey>;

/// A few connections to one Qdrant, used round-robin. Cheap to clone; clones share
/// them.
#[derive(Clone)]
pub struct QdrantPool {
    channels: Arc<[Channel]>,
    next: Arc<AtomicUsize>,
    key: ApiKey,
    timeout: Duration,
}

impl QdrantPool {
    /// Connections to the Qdrant at a URL. Connects at first use, so it can be
    /// created while Qdrant is down.
    ///
    /// # Errors
    /// [`QdrantSetupError`] if the URL, a file or the settings cannot be used.
    pub fn new(url: &str, settings: &QdrantSettings) -> Result<Self, QdrantSetupError> {
        let uri = grpc_uri(url, settings.qdrant_grpc_port).ok_or(QdrantSetupError::Url)?;
        let tls = uri.scheme() == Some(&Scheme::HTTPS);
        let mut endpoint = Endpoint::from(uri)
            .connect_timeout(settings.qdrant_connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .user_agent(concat!("recsys/", env!("CARGO_PKG_VERSION")))?;
        if tls {
            // An error means that the process has a provider already.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let mut config = ClientTlsConfig::new();
            config = match &settings.qdrant_tls_ca_file {
                None => config.with_native_roots(),
                Some(path) => {
                    let pem = std::fs::read(path).map_err(|source| QdrantSetupError::File {
                        path: path.clone(),
                        source,
                    })?;
                    config.ca_certificate(Certificate::from_pem(pem))
                }
            };
            endpoint = endpoint.tls_config(config)?;
        } else if settings.qdrant_tls_ca_file.is_some() {
            return Err(QdrantSetupError::CertificateWithoutTls);
        }
        let key = match &settings.qdrant_api_key {
            None => None,
            Some(key) => {
                let mut value: MetadataValue<Ascii> =
                    key.expose().parse().map_err(|_| QdrantSetupError::Key)?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Ok(Self {
            channels: (0..QdrantSettings::CONNECTIONS)
                .map(|_| endpoint.connect_lazy())
                .collect(),
            next: Arc::default(),
            key: ApiKey(key),
            timeout: settings.qdrant_timeout,
        })
    }

    fn service(&self) -> ClientService {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        let channel = self.channels[next % self.channels.len()].clone();
        InterceptedService::new(RetryLostConnection(channel), self.key.clone())
    }

    pub(super) fn points(&self) -> PointsClient<ClientService> {
        PointsClient::new(self.service()).max_decoding_message_size(MAX_REPLY_BYTES)
    }

    pub(super) fn collections(&self) -> CollectionsClient<ClientService> {
        CollectionsClient::new(self.service())
    }

    pub(super) fn server(&self) -> ServiceClient<ClientService> {
        ServiceClient::new(self.service())
    }

    /// Waits for the reply to a call, at most `QDRANT_TIMEOUT` and until the
    /// deadline.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) async fn call<T>(
        &self,
        operation: &'static str,
        deadline: Deadline,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, StoreError> {
        let timeout = self.timeout.min(deadline.remaining());
        let reply = async {
            match tokio::time::timeout(timeout, call).await {
                Ok(Ok(reply)) => Ok(reply.into_inner()),
                Ok(Err(status)) => Err(store_error(operation, status)),
                Err(_) => Err(StoreError::new(
                    StoreErrorKind::Unavailable,
                    format!("qdrant {operation}: no answer within {timeout:?}"),
                )),
            }
        };
        instrumented("qdrant", operation, reply).await
    }
}

/// The address of the gRPC API. Most users set the URL of the REST API.
fn grpc_uri(url: &str, port: Option<u16>) -> Option<Uri> {
    let uri: Uri = url.trim().parse().ok()?;
    let scheme = uri
        .scheme()
        .filter(|scheme| **scheme == Scheme::HTTP || **scheme == Scheme::HTTPS)?;
    let authority = uri.authority()?;
    if authority.as_str().contains('@') || authority.host().is_empty() {
        return None;
    }
    let port = port.unwrap_or(match authority.port_u16() {
        None | Some(REST_PORT) => GRPC_PORT,
        Some(port) => port,
    });
    format!("{scheme}://{}:{port}", authority.host())
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::grpc_uri;

    #[test]
    fn the_url_of_the_rest_api_is_mapped_to_grpc() {
        for (url, port, expected) in [
            ("http://q", None, "http://q:6334/"),
            ("http://q:6333", None, "http://q:6334/"),
            ("http://q:6333/dashboard", None, "http://q:6334/"),
            ("https://q.cloud", None, "https://q.cloud:6334/"),
            ("http://q:7000", None, "http://q:7000/"),
            ("http://q:6333", Some(6333), "http://q:6333/"),
            ("http://[::1]:6333", None, "http://[::1]:6334/"),
        ] {
            let uri = grpc_uri(url, port).unwrap();
            assert_eq!(uri.to_string(), expected, "{url}");
        }
        for wrong in ["", "q:6334", "grpc://q", "http://", "http://key@q:6334"] {
            assert!(grpc_uri(wrong, None).is_none(), "{wrong}");
        }
    }
}
