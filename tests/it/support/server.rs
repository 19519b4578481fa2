//! Servers in the test process, on free ports of the loopback.

use std::{net::SocketAddr, time::Duration};

use recsys::{
    api::limits::Limits,
    app::server::{Port, ServeError, Stop, serve},
    domain::{
        self,
        event::{EndReason, StoredEvent},
        ids::UserId,
        item::Item,
        ranking_config::RankingConfig,
        time::Timestamp,
    },
    edge::{access::Access, settings::ServerSettings},
    engine::Engine,
    http::webhook::Webhook,
    proto::{
        self, InteractionEvent, catalog_service_client::CatalogServiceClient,
        recommender_service_client::RecommenderServiceClient,
    },
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_types::StatusExt as _;

use super::{MemoryWorld, items::half_circle, until};

/// The fixed time of the test servers.
pub const NOW: &str = "2026-06-10T12:00:00Z";

pub struct TestServer {
    pub world: MemoryWorld,
    pub address: SocketAddr,
    /// The address of the webhook.
    pub webhook: SocketAddr,
    pub stop: CancellationToken,
    /// Ends the delay before the drain.
    pub no_delay: CancellationToken,
    pub channel: Channel,
    running: JoinHandle<Result<(), ServeError>>,
}

impl TestServer {
    /// Serves these items from memory with the default ranking and limits.
    pub async fn with_items(items: Vec<Item>) -> Self {
        Self::with_config(items, RankingConfig::default()).await
    }

    pub async fn with_config(items: Vec<Item>, config: RankingConfig) -> Self {
        let world = MemoryWorld::new(NOW, &config, items);
        let engine = world.engine(config);
        Self::serving(world, engine, ServerSettings::default()).await
    }

    pub async fn with_limits(items: Vec<Item>, limits: Limits) -> Self {
        let config = RankingConfig::default();
        let world = MemoryWorld::new(NOW, &config, items);
        let engine = world.engine(config);
        Self::limited(world, engine, ServerSettings::default(), limits).await
    }

    /// Serves a dozen items from memory.
    pub async fn serving_with(settings: ServerSettings) -> Self {
        let config = RankingConfig::default();
        let world = MemoryWorld::new(NOW, &config, half_circle(12));
        let engine = world.engine(config);
        Self::serving(world, engine, settings).await
    }

    pub async fn serving(world: MemoryWorld, engine: Engine, settings: ServerSettings) -> Self {
        Self::limited(world, engine, settings, Limits::default()).await
    }

    async fn limited(
        world: MemoryWorld,
        engine: Engine,
        settings: ServerSettings,
        limits: Limits,
    ) -> Self {
        // No load balancer needs the delay.
        let settings = ServerSettings {
            drain_delay: Duration::ZERO,
            ..settings
        };
        Self::start(world, engine, settings, limits).await
    }

    /// With exactly these settings, including the delay before the drain.
    pub async fn start(
        world: MemoryWorld,
        engine: Engine,
        settings: ServerSettings,
        limits: Limits,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let deliveries = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let webhook = deliveries.local_addr().unwrap();
        let stop = Stop::default();
        let running = tokio::spawn(serve(
            Access::open(engine),
            limits,
            settings,
            Port {
                listener,
                tls: None,
            },
            Some(Webhook {
                listener: deliveries,
                tls: None,
                secret: None,
            }),
            None,
            None,
            stop.clone(),
        ));
        Self {
            world,
            address,
            webhook,
            stop: stop.drain,
            no_delay: stop.no_delay,
            channel: connect(address).await,
            running,
        }
    }

    /// Waits until the stores were checked: from then on, nothing is sent to them for a
    /// minute but a ping each second.
    pub async fn healthy(self) -> Self {
        let is_serving = async || {
            let request = HealthCheckRequest {
                service: "recsys.v1.RecommenderService".to_owned(),
            };
            let reply = HealthClient::new(self.channel.clone()).check(request).await;
            reply.unwrap().into_inner().status() == ServingStatus::Serving
        };
        until("the stores answer", is_serving).await;
        self
    }

    pub fn recommender(&self) -> RecommenderServiceClient<Channel> {
        RecommenderServiceClient::new(self.channel.clone())
            .max_encoding_message_size(usize::MAX)
            .max_decoding_message_size(usize::MAX)
    }

    pub fn catalog(&self) -> CatalogServiceClient<Channel> {
        CatalogServiceClient::new(self.channel.clone())
    }

    /// Stops the server and waits for its end.
    pub async fn stopped(self) -> Result<(), ServeError> {
        self.stop.cancel();
        self.running.await.unwrap()
    }

    pub async fn ingest(
        &self,
        event: InteractionEvent,
    ) -> Result<proto::IngestEventResponse, Status> {
        let request = proto::IngestEventRequest { event: Some(event) };
        Ok(self.recommender().ingest_event(request).await?.into_inner())
    }

    pub async fn batch(
        &self,
        events: Vec<InteractionEvent>,
    ) -> Result<proto::BatchIngestEventsResponse, Status> {
        let request = proto::BatchIngestEventsRequest { events };
        let reply = self.recommender().batch_ingest_events(request).await?;
        Ok(reply.into_inner())
    }

    /// Erases a user. Returns whether anything was stored.
    pub async fn delete(&self, user: &str) -> bool {
        let request = proto::DeleteUserRequest {
            user_id: user.to_owned(),
        };
        let reply = self.recommender().delete_user(request).await.unwrap();
        reply.into_inner().deleted
    }

    pub async fn signals(&self, user: &str) -> (proto::UserSignals, proto::SignalsSource) {
        let request = proto::GetUserSignalsRequest {
            user_id: user.to_owned(),
            include_vectors: true,
        };
        let reply = self.recommender().get_user_signals(request).await.unwrap();
        let reply = reply.into_inner();
        (reply.signals.clone().unwrap(), reply.source())
    }

    pub async fn recommend(
        &self,
        request: proto::RecommendRequest,
    ) -> Result<proto::RecommendResponse, Status> {
        Ok(self.recommender().recommend(request).await?.into_inner())
    }
}

pub async fn connect(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap()
}

/// An event of a user without a time or an id.
pub fn event(user: &str, event_type: &str, content_id: &str) -> InteractionEvent {
    InteractionEvent {
        user_id: user.to_owned(),
        event_type: event_type.to_owned(),
        content_id: content_id.to_owned(),
        ..InteractionEvent::default()
    }
}

/// The same event with an id.
pub fn named(event_id: &str, event: InteractionEvent) -> InteractionEvent {
    InteractionEvent {
        event_id: event_id.to_owned(),
        ..event
    }
}

/// An event of a view that counts as a like.
pub fn liked(user: &str, content_id: &str) -> InteractionEvent {
    InteractionEvent {
        dwell_seconds: Some(60.0),
        end_reason: proto::EndReason::NextButton.into(),
        ..event(user, "CONTENT_VIEW_ENDED", content_id)
    }
}

/// Such an event in its stored form, at the time of the servers.
pub fn stored_like(user: &str, content_id: &str) -> StoredEvent {
    let now = Timestamp::parse_iso8601(NOW).unwrap();
    let mut event = domain::event::InteractionEvent::new(
        UserId::parse(user).unwrap(),
        "CONTENT_VIEW_ENDED",
        now,
    );
    event.content_id = Some(content_id.into());
    event.dwell_seconds = Some(60.0);
    event.end_reason = Some(EndReason::NextButton);
    domain::event_member::encode(event).unwrap()
}

/// An event of a view that counts as a dislike.
pub fn disliked(user: &str, content_id: &str) -> InteractionEvent {
    InteractionEvent {
        dwell_seconds: Some(0.0),
        end_reason: proto::EndReason::Abandon.into(),
        survey_answers: Some(rating(1.0)),
        ..event(user, "CONTENT_VIEW_ENDED", content_id)
    }
}

pub fn rating(stars: f64) -> prost_types::Struct {
    number_answer("rating", stars)
}

pub fn number_answer(question: &str, number: f64) -> prost_types::Struct {
    let value = prost_types::Value {
        kind: Some(prost_types::value::Kind::NumberValue(number)),
    };
    prost_types::Struct {
        fields: [(question.to_owned(), value)].into(),
    }
}

pub fn text_answer(question: &str, text: &str) -> prost_types::Struct {
    let value = prost_types::Value {
        kind: Some(prost_types::value::Kind::StringValue(text.to_owned())),
    };
    prost_types::Struct {
        fields: [(question.to_owned(), value)].into(),
    }
}

/// The fields that an error names.
pub fn fields(status: &Status) -> Vec<String> {
    status
        .get_details_bad_request()
        .map(|bad| {
            bad.field_violations
                .into_iter()
                .map(|violation| violation.field)
                .collect()
        })
        .unwrap_or_default()
}

/// The reason of an error.
pub fn reason(status: &Status) -> String {
    status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default()
}

pub fn ids(list: &proto::RecommendResponse) -> Vec<&str> {
    list.items
        .iter()
        .map(|item| item.content_id.as_str())
        .collect()
}
