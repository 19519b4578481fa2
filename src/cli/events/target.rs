//! The server that events are sent to.

use std::time::Duration;

use tokio_stream::Stream;
use tonic::{Status, Streaming, transport::Channel};

use super::{error::StreamFailure, wrong_port};
use crate::{
    api::feed::DATA_ID,
    app::is_public_plaintext,
    cli::server_endpoint::{GivenServer, InvalidServer, ServerEndpoint},
    config::{EventsImportFlags, Settings},
    domain::ids::ContentId,
    proto::{
        DeleteUserRequest, GetItemsRequest, StreamIngestEventsRequest, StreamIngestEventsResponse,
        catalog_service_client::CatalogServiceClient,
        recommender_service_client::RecommenderServiceClient,
    },
    telemetry::error_chain::causes,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest reply: a batch in which every event breaks many rules.
const MAX_REPLY_BYTES: usize = 64 << 20;

/// Items per lookup: their contents fit into a reply.
const ITEMS_PER_CALL: usize = 50;

/// Replies to the batches of a stream, and the id of the data that takes them, if the
/// server returned it.
pub(super) struct OpenStream {
    pub(super) replies: Streaming<StreamIngestEventsResponse>,
    pub(super) data_id: Option<String>,
}

/// A server; each stream opens its own connection.
pub(super) struct ImportTarget {
    server: ServerEndpoint,
    key_id: Option<String>,
}

impl ImportTarget {
    pub(super) fn new(
        settings: &Settings,
        flags: &EventsImportFlags,
    ) -> Result<Self, InvalidServer> {
        let given = GivenServer {
            to: flags.to.as_deref(),
            key: flags.key.as_ref(),
            ca_file: flags.ca_file.as_deref(),
        };
        let mut server = ServerEndpoint::new(settings, &given)?;
        let url = &server.url;
        if is_public_plaintext(url) {
            anstream::eprintln!(
                "{url} is outside private networks and has no TLS: the key and the events are sent in \
                 plaintext"
            );
        }
        server.endpoint = server
            .endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        Ok(Self {
            server,
            key_id: flags.key.as_ref().and_then(|key| id_of(key.expose())),
        })
    }

    pub(super) fn url(&self) -> &str {
        &self.server.url
    }

    /// The id of the key.
    pub(super) fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// Opens a stream on a new connection.
    pub(super) async fn stream(
        &self,
        batches: impl Stream<Item = StreamIngestEventsRequest> + Send + 'static,
    ) -> Result<OpenStream, StreamFailure> {
        let channel = self.server.endpoint.connect().await.map_err(|error| {
            let causes = causes(&error);
            StreamFailure::Unreachable(format!(
                "no recsys server answers on {}{causes}",
                self.server.url
            ))
        })?;
        let mut client =
            RecommenderServiceClient::new(channel).max_decoding_message_size(MAX_REPLY_BYTES);
        let reply = client
            .stream_ingest_events(self.server.request(batches))
            .await?;
        let data_id = reply.metadata().get(DATA_ID);
        let data_id = data_id.and_then(|id| id.to_str().ok()).map(str::to_owned);
        Ok(OpenStream {
            replies: reply.into_inner(),
            data_id,
        })
    }

    /// Why no stream can ever succeed on the URL, in one sentence; `None` if it may.
    pub(super) async fn diagnose(&self) -> Option<String> {
        wrong_port::diagnose(&self.server.url).await
    }

    /// A connection for calls that are not streams.
    pub(super) fn channel(&self) -> Channel {
        self.server.endpoint.connect_lazy()
    }

    /// Those of some items that the catalogue does not have.
    ///
    /// # Errors
    /// The server's.
    pub(super) async fn missing_items(
        &self,
        items: &[ContentId],
    ) -> Result<Vec<ContentId>, Box<Status>> {
        let mut client =
            CatalogServiceClient::new(self.channel()).max_decoding_message_size(MAX_REPLY_BYTES);
        let mut missing = Vec::new();
        for items in items.chunks(ITEMS_PER_CALL) {
            let content_ids = items.iter().map(ToString::to_string).collect();
            let request = self.server.request(GetItemsRequest { content_ids });
            let reply = client.get_items(request).await.map_err(Box::new)?;
            missing.extend(reply.into_inner().missing_ids.into_iter().map(Into::into));
        }
        Ok(missing)
    }

    /// Erases a user.
    ///
    /// # Errors
    /// The server's.
    pub(super) async fn erase(&self, channel: Channel, user_id: String) -> Result<(), Box<Status>> {
        let mut client = RecommenderServiceClient::new(channel);
        let request = self.server.request(DeleteUserRequest { user_id });
        client.delete_user(request).await.map_err(Box::new)?;
        Ok(())
    }
}

/// The part of a key that is not secret: `rsk_ID_SECRET`.
fn id_of(key: &str) -> Option<String> {
    let (id, _) = key.strip_prefix("rsk_")?.split_once('_')?;
    Some(id.to_owned())
}
