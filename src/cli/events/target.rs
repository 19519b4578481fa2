//! The server that events are sent to.

use std::{path::PathBuf, time::Duration};

use tokio_stream::Stream;
use tonic::{
    Request, Streaming,
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, ClientTlsConfig, Endpoint},
};

use super::Stopped;
use crate::{
    app::leaves_in_clear,
    cli::healthcheck::reachable,
    config::{EventsImport, Settings},
    proto::{
        StreamIngestEventsRequest, StreamIngestEventsResponse,
        recommender_service_client::RecommenderServiceClient,
    },
    telemetry::error_chain::causes,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer: a batch of which every event breaks many rules.
const MAX_REPLY_BYTES: usize = 64 << 20;

/// The server cannot be called as told.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The URL is none.
    #[error("--to is not understood; give http://host:port or https://host:port")]
    Url,
    /// The key cannot be sent.
    #[error("RECSYS_KEY holds characters that cannot be sent")]
    Key,
    /// A certificate would not be used.
    #[error("RECSYS_SERVER_CA_FILE is set, but --to does not begin with https://")]
    CertificateWithoutTls,
    /// The certificates cannot be read.
    #[error("RECSYS_SERVER_CA_FILE: cannot read {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The certificates cannot be used.
    #[error("RECSYS_SERVER_CA_FILE cannot be used: {0}")]
    Certificate(#[source] tonic::transport::Error),
}

/// A server, not connected yet.
pub(super) struct Server {
    url: String,
    endpoint: Endpoint,
    key: Option<MetadataValue<Ascii>>,
    key_id: Option<String>,
}

impl Server {
    pub(super) fn new(settings: &Settings, how: &EventsImport) -> Result<Self, ServerError> {
        let scheme = match &settings.tls.tls_cert_file {
            Some(_) => "https",
            None => "http",
        };
        let own = || format!("{scheme}://{}", reachable(settings.listen_addr));
        let url = how.to.clone().unwrap_or_else(own);
        let tls = url.starts_with("https://");
        if !tls && !url.starts_with("http://") {
            return Err(ServerError::Url);
        }
        if leaves_in_clear(&url) {
            anstream::eprintln!(
                "{url} is beyond private networks and without TLS: the key and what users did \
                 can be read on the way"
            );
        }
        let mut endpoint = Endpoint::from_shared(url.clone())
            .map_err(|_| ServerError::Url)?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT);
        if tls {
            // An error says that the process has its provider already.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let config = match &how.ca_file {
                None => ClientTlsConfig::new().with_native_roots(),
                Some(path) => {
                    let pem = std::fs::read(path).map_err(|source| ServerError::File {
                        path: path.clone(),
                        source,
                    })?;
                    ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))
                }
            };
            endpoint = endpoint
                .tls_config(config)
                .map_err(ServerError::Certificate)?;
        } else if how.ca_file.is_some() {
            return Err(ServerError::CertificateWithoutTls);
        }
        let key = how.key.as_ref().map(|key| {
            let mut value: MetadataValue<Ascii> = format!("Bearer {}", key.expose())
                .parse()
                .map_err(|_| ServerError::Key)?;
            value.set_sensitive(true);
            Ok(value)
        });
        Ok(Self {
            url,
            endpoint,
            key: key.transpose()?,
            key_id: how.key.as_ref().and_then(|key| id_of(key.expose())),
        })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// What the key is known by.
    pub(super) fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// Opens a stream on a new connection.
    pub(super) async fn stream(
        &self,
        batches: impl Stream<Item = StreamIngestEventsRequest> + Send + 'static,
    ) -> Result<Streaming<StreamIngestEventsResponse>, Stopped> {
        let channel = self.endpoint.connect().await.map_err(|error| {
            let why = causes(&error);
            Stopped::Unreachable(format!("no recsys server answers on {}{why}", self.url))
        })?;
        let mut request = Request::new(batches);
        if let Some(key) = &self.key {
            request.metadata_mut().insert("authorization", key.clone());
        }
        let mut client =
            RecommenderServiceClient::new(channel).max_decoding_message_size(MAX_REPLY_BYTES);
        Ok(client.stream_ingest_events(request).await?.into_inner())
    }
}

/// The part of a key that is no secret: `rsk_ID_SECRET`.
fn id_of(key: &str) -> Option<String> {
    let (id, _) = key.strip_prefix("rsk_")?.split_once('_')?;
    Some(id.to_owned())
}
