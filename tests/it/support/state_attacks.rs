//! Clients with keys that make the state of users and catalogues as large, and work on it
//! as dear, as they can.

use std::net::SocketAddr;

use recsys::proto::{
    BatchIngestEventsRequest, ExportUserPagesRequest, ExportUserPagesResponse, ExportUserRequest,
    InteractionEvent, Item, RecommendRequest, StreamIngestEventsRequest, UpsertItemsRequest,
    catalog_service_client::CatalogServiceClient,
    recommender_service_client::RecommenderServiceClient,
};
use tokio::task::JoinSet;
use tonic::{Request, Status, Streaming, transport::Channel};

use super::{
    server::{connect, event, liked, named, reason, text_answer},
    tenants::{Tenants, with_headers},
};

/// Bytes of the text of each event of the large user.
pub const LARGE_EVENT: usize = 60_000;

/// A client that tries to exhaust the stores of a server.
pub struct StateAttacker {
    channel: Channel,
    /// With the roles ingest, serve and read-profile.
    pub key: String,
    /// With the role ingest, one call a second and three at once.
    pub slow_key: String,
    /// Of two tenants, with the role catalog.
    catalog_keys: [String; 2],
}

impl StateAttacker {
    /// Adds the keys of two tenants to the file, which is then to be written.
    pub fn keys(tenants: &mut Tenants, [one, other]: [&str; 2]) -> [String; 4] {
        let key = tenants.key(one, &["ingest", "serve", "read-profile"]);
        let slow_key = tenants.key(one, &["ingest"]);
        tenants.add("calls_per_second = 1\ncalls_burst = 3");
        let [first, second] = [one, other].map(|tenant| tenants.key(tenant, &["catalog"]));
        [key, slow_key, first, second]
    }

    pub async fn new(address: SocketAddr, [key, slow_key, first, second]: [String; 4]) -> Self {
        Self {
            channel: connect(address).await,
            key,
            slow_key,
            catalog_keys: [first, second],
        }
    }

    pub fn client(&self) -> RecommenderServiceClient<Channel> {
        let client = RecommenderServiceClient::new(self.channel.clone());
        client.max_decoding_message_size(usize::MAX)
    }

    pub fn request<T>(&self, message: T) -> Request<T> {
        with_headers(&[("x-api-key", &self.key)], message)
    }

    async fn send(&self, events: Vec<InteractionEvent>) {
        let request = self.request(BatchIngestEventsRequest { events });
        // Whether it is taken does not matter.
        let _ = self.client().batch_ingest_events(request).await;
    }

    /// Event ids of hundreds of lengths, one of them stored, on a full buffer.
    pub async fn ids_of_many_lengths(&self) {
        for batch in 0..5 {
            let id = |index: usize| format!("stored-{batch}-{index}");
            let events = (0..1_000).map(|index| named(&id(index), liked("ids", "2001")));
            self.send(events.collect()).await;
        }
        let id = |length: usize| match length {
            // Ids of at most 512 bytes.
            0 => "stored-4-999".to_owned(),
            length => "i".repeat(length % 512 + 1),
        };
        let events = (0..1_000).map(|length| named(&id(length), liked("ids", "2001")));
        self.send(events.collect()).await;
    }

    /// A user of as many bytes as can be sent, of whom lists are asked for at once.
    pub async fn large_user(&self) {
        let large = |index: usize| InteractionEvent {
            query_text: "x".repeat(LARGE_EVENT),
            ..named(&format!("large-{index}"), liked("large", "2001"))
        };
        for batch in 0..3 {
            let events = batch * 50..(batch + 1) * 50;
            self.send(events.map(large).collect()).await;
        }
        let mut lists = JoinSet::new();
        for _ in 0..8 {
            let mut client = self.client();
            let list = self.request(RecommendRequest {
                user_id: "large".into(),
                ..RecommendRequest::default()
            });
            lists.spawn(async move { client.recommend(list).await.map(|_| ()) });
        }
        lists.join_all().await;
    }

    /// An export of the large user in one reply.
    pub async fn export_whole(&self) -> Result<(), Status> {
        let export = ExportUserRequest {
            user_id: "large".into(),
        };
        let whole = self.client().export_user(self.request(export)).await;
        whole.map(|_| ())
    }

    /// Exports of the large user that are not read.
    pub async fn exports_in_pages(&self) -> Vec<Streaming<ExportUserPagesResponse>> {
        let mut unread = Vec::new();
        for _ in 0..16 {
            match self.export_in_pages().await {
                Ok(stream) => unread.push(stream),
                Err(status) => assert_eq!(reason(&status), "OVERLOADED", "{status}"),
            }
        }
        unread
    }

    pub async fn export_in_pages(&self) -> Result<Streaming<ExportUserPagesResponse>, Status> {
        let request = ExportUserPagesRequest {
            user_id: "large".into(),
        };
        let reply = self.client().export_user_pages(self.request(request)).await;
        reply.map(tonic::Response::into_inner)
    }

    /// Profiles that repeat.
    pub async fn profiles(&self) {
        self.send(vec![liked("profiles", "2001")]).await;
        for batch in 0..3 {
            let profile = |index: usize| InteractionEvent {
                survey_answers: Some(text_answer("age", "25")),
                ..named(
                    &format!("profile-{batch}-{index}"),
                    event("profiles", "IDENTIFY", ""),
                )
            };
            self.send((0..1_000).map(profile).collect()).await;
        }
    }

    /// Batches through one stream, of a key whose quota is one call a second, until as many
    /// are answered.
    pub async fn stream_batches(&self, answers: usize) -> Result<(), Status> {
        let batches = (0..40).map(|number| StreamIngestEventsRequest {
            events: (0..1_000)
                .map(|index| named(&format!("{number}-{index}"), liked("stream", "2001")))
                .collect(),
            sequence: number,
        });
        let batches = tokio_stream::iter(batches.collect::<Vec<_>>());
        let request = with_headers(&[("x-api-key", &self.slow_key)], batches);
        let opened = self.client().stream_ingest_events(request).await?;
        let mut replies = opened.into_inner();
        for _ in 0..answers {
            replies.message().await?;
        }
        Ok(())
    }

    /// Items with as much text as they may have, for two tenants, until no more fits. Returns
    /// the bytes of text that were stored.
    ///
    /// # Errors
    /// The first refusal that is not one of an overloaded server.
    pub async fn fill_catalogues(&self) -> Result<usize, Status> {
        const TEXT: usize = 250 << 10;
        let mut client = CatalogServiceClient::new(self.channel.clone());
        let mut stored = 0;
        for key in &self.catalog_keys {
            let mut is_full = false;
            for batch in 0.. {
                if is_full {
                    break;
                }
                let item = |index: usize| Item {
                    content_id: format!("full-{batch}-{index}"),
                    text: "x".repeat(TEXT),
                    ..Item::default()
                };
                let items = (0..10).map(item).collect();
                let request = with_headers(&[("x-api-key", key)], UpsertItemsRequest { items });
                let reply = match client.upsert_items(request).await {
                    Ok(reply) => reply.into_inner(),
                    Err(status) if reason(&status) == "OVERLOADED" => continue,
                    Err(status) => return Err(status),
                };
                for result in reply.results {
                    match result.error {
                        None => stored += TEXT,
                        Some(error) => {
                            assert_eq!(error.reason, "CATALOG_FULL");
                            is_full = true;
                        }
                    }
                }
            }
        }
        Ok(stored)
    }
}
