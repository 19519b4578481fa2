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
    adapters::observed::observed,
    ports::{Deadline, StoreError, StoreErrorKind},
};

const GRPC_PORT: u16 = 6334;
pub(super) const REST_PORT: u16 = 6333;
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
            channels: (0..QdrantSettings::CONNECTIONS)
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

    /// Waits for an answer, no longer than the settings say and the caller
    /// does, and says what a failure means.
    pub(super) async fn call<T>(
        &self,
        what: &'static str,
        deadline: Deadline,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, StoreError> {
        let longest = self.timeout.min(deadline.remaining());
        let answer = async {
            match tokio::time::timeout(longest, call).await {
                Ok(Ok(reply)) => Ok(reply.into_inner()),
                Ok(Err(status)) => Err(store_error(what, status)),
                Err(_) => Err(StoreError::new(
                    StoreErrorKind::Unavailable,
                    format!("qdrant {what}: no answer within {longest:?}"),
                )),
            }
        };
        observed("qdrant", what, answer).await
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
    let (kind, advice) = meaning(&status);
    StoreError::new(kind, format!("qdrant {what} failed{advice}")).caused_by(status)
}

/// What kind of failure it is, and what to do about it.
fn meaning(status: &Status) -> (StoreErrorKind, &'static str) {
    if let Some(advice) = of_settings(status) {
        return (StoreErrorKind::Misconfigured, advice);
    }
    let kind = match status.code() {
        // Told by what is in between: it may know no other code.
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

/// Which settings to mend, if the failure comes of them.
fn of_settings(status: &Status) -> Option<&'static str> {
    let told = status.message();
    if told.contains("invalid peer certificate") {
        return Some(
            " (set QDRANT_TLS_CA_FILE to the certificates of those who vouch for Qdrant, and \
             QDRANT_API_URL to a name that is in its certificate)",
        );
    }
    if told.contains("InvalidContentType") {
        return Some(
            " (QDRANT_API_URL begins with https://, but there is no TLS at that port: begin it \
             with http://)",
        );
    }
    // Another protocol is spoken: its first bytes are no size of a frame. Or
    // something in between knows no such path; what it says of its own health,
    // or ours, passes.
    let passes = |code: u16| code >= 500 || [408, 425, 429].contains(&code);
    if has_cause(status, "frame with invalid size")
        || told.contains("invalid compression flag")
        || http_code(status).is_some_and(|code| !passes(code))
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

/// The code of an answer in plain HTTP, which Qdrant does not give.
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

    use super::{grpc_uri, meaning};
    use crate::ports::StoreErrorKind;

    #[test]
    fn what_passes_by_itself_is_told_from_what_must_be_mended() {
        let by_http = |code| {
            let told = format!("grpc-status header missing, mapped from HTTP status code {code}");
            // The code that goes with it says little.
            meaning(&Status::new(Code::Unimplemented, told)).0
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
