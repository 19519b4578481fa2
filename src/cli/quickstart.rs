//! `recsys quickstart`: the main use case in one command, through the real gRPC API.
//! A visitor's day is played on any catalogue, and everything printed of items, models
//! and lists is a reply of the API.

mod day;
mod guests;
mod names;
mod print;
mod shop;

use std::{
    collections::{HashMap, HashSet},
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
    time::SystemTime,
};

use anstream::println;
use tonic::transport::{Channel, Endpoint};

use super::{exit, healthcheck::reachable};
use crate::{
    app::{
        self, Console, StartError,
        server::{Port, ServeError, Stop},
    },
    config::Settings,
    edge::tls::TlsSettings,
    engine::{Engine, EngineError},
    proto::{
        self, BatchIngestEventsRequest, GetItemsRequest, GetUserSignalsRequest, IngestEventRequest,
        Item, RecommendRequest, RecommendResponse, RecommendedItem,
        catalog_service_client::CatalogServiceClient,
        recommender_service_client::RecommenderServiceClient,
    },
};
use day::{Day, VISITOR};
use shop::{SHOPPER, Shop};

/// Fixed, so that every tour over the same catalogue is the same. This one draws an
/// exploration item.
const SEED: u32 = 14;
/// Where the console is, unless the settings say.
const CONSOLE_ADDR: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 50_080);

/// The tour failed.
#[derive(Debug, thiserror::Error)]
enum TourError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("cannot connect to the server just started: {0}")]
    Connect(#[from] tonic::transport::Error),
    #[error("a call of the tour failed: {} ({})", .0.message(), .0.code())]
    Call(Box<tonic::Status>),
    #[error("what other visitors chose cannot be made use of: {0}")]
    Associations(#[from] EngineError),
    #[error("the server panicked")]
    Panicked,
}

impl From<tonic::Status> for TourError {
    fn from(status: tonic::Status) -> Self {
        Self::Call(Box::new(status))
    }
}

/// Starts a server on in-memory stores, plays the tour, and keeps serving until a
/// signal stops it; with `exit`, stops after the tour.
pub(super) async fn run(settings: &Settings, exit: bool) -> ExitCode {
    match play(settings, exit, app::stop_on_signal()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(TourError::Start(error)) => exit::failed(&error, error.is_bad_input()),
        Err(error) => exit::failed(error, false),
    }
}

async fn play(settings: &Settings, exit: bool, stop: Stop) -> Result<(), TourError> {
    // A team's real stores are never touched.
    let settings = Settings {
        redis_url: None,
        qdrant_api_url: None,
        tls: TlsSettings::default(),
        tenants_path: None,
        ..settings.clone()
    };
    let engine = app::engine(&settings)?;
    let port = app::listen(&settings).await?;
    let address = port
        .listener
        .local_addr()
        .map_or(settings.listen_addr, reachable);
    let (console, where_console) = console(&settings, &port).await?;
    let server = app::Server::of_engine(engine.clone(), port, console);
    let server = tokio::spawn({
        let (settings, stop) = (settings.clone(), stop.clone());
        async move { server.serve(&settings, stop).await }
    });

    let channel = Endpoint::from_shared(format!("http://{address}"))?
        .connect()
        .await?;
    let toured = tokio::select! {
        toured = tour(channel, &engine, &settings) => toured,
        () = stop.drain.cancelled() => Ok(None),
    };
    if let Ok(Some(example)) = &toured {
        print::next_steps(&address.to_string(), example, exit);
        if !exit {
            println!("{where_console}");
        }
    }
    if exit || toured.is_err() {
        stop.no_delay.cancel();
        stop.drain.cancel();
    }
    server.await.map_err(|_| TourError::Panicked)??;
    toured.map(|_| ())
}

/// The console and where it is, on its usual address if the settings name none: then an
/// address that is in use is no reason to fail, but to say what to do.
async fn console(
    settings: &Settings,
    port: &Port,
) -> Result<(Option<Console>, String), StartError> {
    let is_named = settings.console.console_addr.is_some();
    let mut settings = settings.clone();
    let address = *settings.console.console_addr.get_or_insert(CONSOLE_ADDR);
    match app::console(&settings, port).await {
        Ok(console) => {
            let listening = console.as_ref();
            let listening = listening.and_then(|console| console.listener.local_addr().ok());
            let address = listening.unwrap_or(address);
            let console = console.map(|console| Console {
                example_users: vec![VISITOR.to_owned(), SHOPPER.to_owned()],
                ..console
            });
            Ok((
                console,
                format!("Look at it in a browser: http://{address}"),
            ))
        }
        Err(StartError::Listen { source, .. }) if !is_named => {
            let problem = format!(
                "The console is not served, because {address} cannot be listened on ({source}): \
                 stop the program that uses it, or set RECSYS_CONSOLE_ADDR to a free address, \
                 such as 127.0.0.1:{}.",
                CONSOLE_ADDR.port() + 1
            );
            Ok((None, problem))
        }
        Err(error) => Err(error),
    }
}

struct TourClient {
    recommender: RecommenderServiceClient<Channel>,
    catalog: CatalogServiceClient<Channel>,
    max_limit: u32,
    max_batch: usize,
}

/// Plays the tour. Returns an item for the example calls; `None` if there is none.
async fn tour(
    channel: Channel,
    engine: &Engine,
    settings: &Settings,
) -> Result<Option<String>, TourError> {
    let mut client = TourClient {
        // No limit: lists with content can be large, and the server is trusted.
        recommender: RecommenderServiceClient::new(channel.clone())
            .max_decoding_message_size(usize::MAX),
        catalog: CatalogServiceClient::new(channel).max_decoding_message_size(usize::MAX),
        max_limit: u32::try_from(settings.limits.max_limit).unwrap_or(u32::MAX),
        max_batch: settings.limits.max_batch_events.max(1),
    };
    print::welcome(settings.catalog_path.as_deref());

    let first = client.list(None, 12).await?;
    if first.items.is_empty() {
        println!("The catalogue has no items, so there is nothing to show or to learn from.");
        return Ok(None);
    }
    let theme = day::theme(&first.items);
    let on_theme = match &theme {
        Some(theme) => client.list(Some(&theme.label), 8).await?.items,
        None => Vec::new(),
    };
    client.send_guests(engine, &first, &on_theme).await?;
    let day = Day::plan(&first, theme, &on_theme, SystemTime::now().into());
    print::story(&day);
    client.send(&day).await?;
    client.show_model().await?;
    let example = client.show_list().await?;
    let items: Vec<Item> = first
        .items
        .into_iter()
        .filter_map(|item| item.content)
        .collect();
    let shop = Shop::plan(&first.request_id, &items, SystemTime::now().into());
    client.show_shop(&shop).await?;
    Ok(example)
}

impl TourClient {
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

    /// Sends the events of other visitors, and makes what they chose part of lists at once
    /// instead of within `ASSOCIATIONS_INTERVAL`.
    async fn send_guests(
        &mut self,
        engine: &Engine,
        first: &RecommendResponse,
        on_theme: &[RecommendedItem],
    ) -> Result<(), TourError> {
        let request = RecommendRequest {
            limit: self.max_limit,
            include_content: true,
            exploration: Some(false),
            seed: Some(SEED),
            ..RecommendRequest::default()
        };
        let others = self.recommender.recommend(request).await?.into_inner();
        let items = first.items.iter().chain(on_theme).chain(&others.items);
        let items = items.filter_map(|item| item.content.clone()).collect();
        let events = guests::events(&first.request_id, items, SystemTime::now().into());
        let users: HashSet<&str> = events.iter().map(|event| event.user_id.as_str()).collect();
        print::guests(users.len(), events.len());
        for batch in events.chunks(self.max_batch) {
            let batch = BatchIngestEventsRequest {
                events: batch.to_vec(),
            };
            self.recommender.batch_ingest_events(batch).await?;
        }
        engine.finish().await;
        engine.refresh_associations().await?;
        Ok(())
    }

    /// Sends the day's events: all but the last in one batch, and the last one twice, as
    /// a client that retries would.
    async fn send(&mut self, day: &Day) -> Result<(), TourError> {
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
        print::list(&list);
        Ok(list.items.first().map(|item| item.content_id.clone()))
    }

    /// Sends a shopper's events, and shows what they mean and what was liked.
    async fn show_shop(&mut self, shop: &Shop) -> Result<(), TourError> {
        let batch = BatchIngestEventsRequest {
            events: shop.events.clone(),
        };
        let reply = self
            .recommender
            .batch_ingest_events(batch)
            .await?
            .into_inner();
        let request = GetUserSignalsRequest {
            user_id: SHOPPER.to_owned(),
            include_vectors: false,
        };
        let signals = self
            .recommender
            .get_user_signals(request)
            .await?
            .into_inner()
            .signals;
        print::shop(shop.lines(&reply.results), &signals.unwrap_or_default());
        Ok(())
    }

    async fn titles(&mut self, ids: &[String]) -> Result<HashMap<String, String>, TourError> {
        let request = GetItemsRequest {
            content_ids: ids.to_vec(),
        };
        let reply = self.catalog.get_items(request).await?.into_inner();
        Ok(reply
            .items
            .into_iter()
            .map(|item| (item.content_id.clone(), names::title(&item)))
            .collect())
    }
}
