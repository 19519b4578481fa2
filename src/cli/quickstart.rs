//! `recsys quickstart`: the main job in one command, through the real gRPC
//! API. A visitor comes, does what visitors do, and is understood. It runs on
//! any catalogue, and everything it prints of items, models and lists is what
//! the API replied.

mod day;
mod print;

use std::{collections::HashMap, time::SystemTime};

use anstream::println;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

use super::healthcheck::reachable;
use crate::{
    app::{
        self, StartError,
        server::{Port, ServeError, Stop},
    },
    config::Settings,
    edge::{access::Access, tls::TlsSettings},
    proto::{
        self, BatchIngestEventsRequest, GetItemsRequest, GetUserSignalsRequest, IngestEventRequest,
        RecommendRequest, RecommendResponse, catalog_service_client::CatalogServiceClient,
        recommender_service_client::RecommenderServiceClient,
    },
};
use day::Day;

/// Whom the tour plays.
pub const VISITOR: &str = "visitor-1";
/// Makes every tour over the same catalogue the same.
const SEED: u32 = 11;

/// Why the tour ended early.
#[derive(Debug, thiserror::Error)]
pub enum TourError {
    /// The server did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The server failed.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The server cannot be reached.
    #[error("cannot connect to the server just started: {0}")]
    Connect(#[from] tonic::transport::Error),
    /// A call failed.
    #[error("a call of the tour failed: {} ({})", .0.message(), .0.code())]
    Call(Box<tonic::Status>),
    /// The server's task panicked.
    #[error("the server panicked")]
    Panicked,
}

impl From<tonic::Status> for TourError {
    fn from(status: tonic::Status) -> Self {
        Self::Call(Box::new(status))
    }
}

/// Starts a server on embedded stores, shows the tour, and keeps serving until
/// it is told to stop; with `exit`, ends after the tour.
///
/// # Errors
/// [`TourError`].
pub async fn run(settings: &Settings, exit: bool, stop: Stop) -> Result<(), TourError> {
    let settings = embedded(settings);
    let engine = app::engine(&settings)?;
    let port = app::listen(&settings).await?;
    let address = port
        .listener
        .local_addr()
        .map_or(settings.listen_addr, reachable);
    let server = spawn_server(settings.clone(), engine, port, stop.clone());

    let channel = Endpoint::from_shared(format!("http://{address}"))?
        .connect()
        .await?;
    let toured = tokio::select! {
        toured = tour(channel, &settings) => toured,
        () = stop.drain.cancelled() => Ok(None),
    };
    if let Ok(Some(example)) = &toured {
        print::next_steps(&address.to_string(), example, exit);
    }
    if exit || toured.is_err() {
        stop.no_delay.cancel();
        stop.drain.cancel();
    }
    server.await.map_err(|_| TourError::Panicked)??;
    toured.map(|_| ())
}

/// The tour never touches a team's real stores.
fn embedded(settings: &Settings) -> Settings {
    Settings {
        redis_url: None,
        qdrant_api_url: None,
        tls: TlsSettings::default(),
        tenants_path: None,
        ..settings.clone()
    }
}

fn spawn_server(
    settings: Settings,
    engine: crate::engine::Engine,
    port: Port,
    stop: Stop,
) -> JoinHandle<Result<(), ServeError>> {
    let access = Access::open(engine);
    tokio::spawn(async move { app::serve(&settings, access, port, None, None, stop).await })
}

struct Guide {
    recommender: RecommenderServiceClient<Channel>,
    catalog: CatalogServiceClient<Channel>,
    max_limit: u32,
}

/// Returns an item to go on with; `None` if there is none.
async fn tour(channel: Channel, settings: &Settings) -> Result<Option<String>, TourError> {
    let mut guide = Guide {
        // Lists with content can be large, and the server is our own.
        recommender: RecommenderServiceClient::new(channel.clone())
            .max_decoding_message_size(usize::MAX),
        catalog: CatalogServiceClient::new(channel).max_decoding_message_size(usize::MAX),
        max_limit: u32::try_from(settings.limits.max_limit).unwrap_or(u32::MAX),
    };
    print::welcome(settings.catalog_path.as_deref());

    let first = guide.list(None, 12).await?;
    if first.items.is_empty() {
        println!("The catalogue has no items, so there is nothing to show or to learn from.");
        return Ok(None);
    }
    let theme = day::theme(&first.items);
    let on_theme = match &theme {
        Some(theme) => guide.list(Some(&theme.label), 8).await?.items,
        None => Vec::new(),
    };
    let day = Day::plan(VISITOR, &first, theme, &on_theme, SystemTime::now().into());
    print::story(&day);
    guide.live(&day).await?;
    guide.show_model().await?;
    guide.show_list().await
}

impl Guide {
    async fn list(
        &mut self,
        filter: Option<&str>,
        limit: u32,
    ) -> Result<RecommendResponse, TourError> {
        let request = RecommendRequest {
            user_id: VISITOR.to_owned(),
            limit: limit.min(self.max_limit),
            filter: filter.unwrap_or_default().to_owned(),
            include_content: true,
            seed: Some(SEED),
            ..RecommendRequest::default()
        };
        Ok(self.recommender.recommend(request).await?.into_inner())
    }

    /// Sends the day: most of it in one batch, the last event on its own, and
    /// that one twice, as a client that retries would.
    async fn live(&mut self, day: &Day) -> Result<(), TourError> {
        let mut events = day.events();
        let last = events.pop();
        let sent = events.len();
        let batch = BatchIngestEventsRequest { events };
        let reply = self.recommender.batch_ingest_events(batch).await?;
        let accepted = reply
            .into_inner()
            .results
            .iter()
            .filter(|result| result.outcome() == proto::IngestOutcome::Accepted)
            .count();
        let mut outcomes = Vec::new();
        for event in last.iter().chain(last.iter()) {
            let request = IngestEventRequest {
                event: Some(event.clone()),
            };
            let reply = self.recommender.ingest_event(request).await?.into_inner();
            outcomes.push((reply.outcome(), reply.buffered_events));
        }
        print::sent(sent, accepted, &outcomes);
        Ok(())
    }

    async fn show_model(&mut self) -> Result<(), TourError> {
        let request = GetUserSignalsRequest {
            user_id: VISITOR.to_owned(),
            include_vectors: false,
        };
        let reply = self
            .recommender
            .get_user_signals(request)
            .await?
            .into_inner();
        let signals = reply.signals.clone().unwrap_or_default();
        let titles = self.titles(&signals.recent_views).await?;
        print::model(&signals, reply.source(), &titles);
        Ok(())
    }

    /// Returns the first item of the list.
    async fn show_list(&mut self) -> Result<Option<String>, TourError> {
        let list = self.list(None, 10).await?;
        let similar: Vec<String> = list
            .items
            .iter()
            .map(|item| item.similar_to.clone())
            .filter(|id| !id.is_empty())
            .collect();
        let titles = self.titles(&similar).await?;
        print::list(&list, &titles);
        Ok(list.items.first().map(|item| item.content_id.clone()))
    }

    async fn titles(&mut self, ids: &[String]) -> Result<HashMap<String, String>, TourError> {
        let request = GetItemsRequest {
            content_ids: ids.to_vec(),
        };
        let reply = self.catalog.get_items(request).await?.into_inner();
        Ok(reply
            .items
            .into_iter()
            .map(|item| (item.content_id.clone(), print::title(&item)))
            .collect())
    }
}
