//! Connections to Qdrant, and what its failures mean.

use std::{
    error::Error as _,
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
    Code, Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use super::{resend::Resending, settings::QdrantSettings};
use crate::{
    meters,
    ports::{StoreError, StoreErrorKind},
};

const GRPC_PORT: u16 = 6334;
const REST_PORT: u16 = 6333;
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer: a page of items with their vectors.
const MAX_REPLY_BYTES: usize = 64 << 20;

/// Qdrant cannot be set up as configured. Never holds the URL, which may carry
/// a secret.
#[derive(Debug, thiserror::Error)]
pub enum QdrantSetupError {
    /// The URL is none of Qdrant.
    #[error("QDRANT_API_URL is not understood; give http://host[:port] or https://host[:port]")]
    Url,
    /// The key cannot be sent.
    #[error("QDRANT_API_KEY holds characters that cannot be sent")]
    Key,
    /// A certificate would not be used.
    #[error("QDRANT_TLS_CA_FILE is set, but QDRANT_API_URL does not begin with https://")]
    CertificateWithoutTls,
    /// The certificates cannot be read.
    #[error("QDRANT_TLS_CA_FILE: cannot read {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The certificates cannot be used.
    #[error("the connections to Qdrant cannot be set up")]
    Transport(#[from] tonic::transport::Error),
}

/// Sends the key along.
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

type Wire = InterceptedService<Resending, ApiKey>;

/// A few connections, used in turn. Made when first used. Cheap to clone.
#[derive(Clone)]
pub(super) struct Qdrant {
    channels: Arc<[Channel]>,
    next: Arc<AtomicUsize>,
    key: ApiKey,
    timeout: Duration,
}

impl Qdrant {
    pub(super) fn new(url: &str, settings: &QdrantSettings) -> Result<Self, QdrantSetupError> {
        let uri = grpc_uri(url, settings.qdrant_grpc_port).ok_or(QdrantSetupError::Url)?;
        let tls = uri.scheme() == Some(&Scheme::HTTPS);
        let mut endpoint = Endpoint::from(uri)
            .connect_timeout(settings.qdrant_connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .user_agent(concat!("recsys/", env!("CARGO_PKG_VERSION")))?;
        if tls {
            // An error says that the process has its provider already.
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
            channels: (0..settings.qdrant_connections)
                .map(|_| endpoint.connect_lazy())
                .collect(),
            next: Arc::default(),
            key: ApiKey(key),
            timeout: settings.qdrant_timeout,
        })
    }

    fn wire(&self) -> Wire {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let channel = self.channels[turn % self.channels.len()].clone();
        InterceptedService::new(Resending(channel), self.key.clone())
    }

    pub(super) fn points(&self) -> PointsClient<Wire> {
        PointsClient::new(self.wire()).max_decoding_message_size(MAX_REPLY_BYTES)
    }

    pub(super) fn collections(&self) -> CollectionsClient<Wire> {
        CollectionsClient::new(self.wire())
    }

    pub(super) fn service(&self) -> ServiceClient<Wire> {
        ServiceClient::new(self.wire())
    }

    /// Waits for an answer, not for ever, and says what a failure means.
    pub(super) async fn call<T>(
        &self,
        what: &'static str,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, StoreError> {
        let mut operation = meters::StoreOperation::begin("qdrant", what);
        let done = match tokio::time::timeout(self.timeout, call).await {
            Ok(Ok(reply)) => Ok(reply.into_inner()),
            Ok(Err(status)) => Err(store_error(what, status)),
            Err(_) => Err(StoreError::new(
                StoreErrorKind::Unavailable,
                format!("qdrant {what}: no answer within {:?}", self.timeout),
            )),
        };
        operation.ended(done.as_ref().err().map(|error| error.kind().label()));
        done
    }
}

/// Where gRPC is spoken: people have the URL of the REST API at hand.
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

fn store_error(what: &'static str, status: Status) -> StoreError {
    // A connection that was lost is a protocol error of HTTP/2, too: what it is
    // is told by the causes.
    let told = chain(&status);
    let wrong_port = told.contains("grpc-status header missing")
        || told.contains("invalid compression flag")
        || told.contains("frame with invalid size");
    let (kind, advice) = match status.code() {
        _ if wrong_port => (
            StoreErrorKind::Unavailable,
            " (this is not Qdrant's gRPC port, or a proxy is in between: set QDRANT_API_URL to \
             the port of gRPC, usually 6334, or QDRANT_GRPC_PORT)",
        ),
        Code::Unauthenticated | Code::PermissionDenied => {
            (StoreErrorKind::Unavailable, " (set QDRANT_API_KEY)")
        }
        Code::NotFound | Code::FailedPrecondition => (StoreErrorKind::Unprepared, ""),
        Code::InvalidArgument | Code::Unimplemented | Code::OutOfRange => {
            (StoreErrorKind::Corrupt, "")
        }
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => (StoreErrorKind::Unavailable, ""),
    };
    StoreError::new(kind, format!("qdrant {what} failed{advice}")).caused_by(status)
}

/// What a failure says of itself, with its causes.
fn chain(status: &Status) -> String {
    let mut told = status.message().to_owned();
    let mut next = status.source();
    while let Some(cause) = next {
        told.push_str(": ");
        told.push_str(&cause.to_string());
        next = cause.source();
    }
    told
}

#[cfg(test)]
mod tests {
    use super::grpc_uri;

    #[test]
    fn the_url_of_the_rest_api_leads_to_grpc() {
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
