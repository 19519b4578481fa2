//! The catalogue in Qdrant: the calls of a request, lists of heavy readers, writes
//! by other processes, outages and wrong settings.

mod deadlines;
mod sizes;
mod tags;
mod updates;
mod writers;

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use qdrant_client::qdrant::{Distance, GetPoints, QueryBatchPoints};
use recsys::{
    adapters::qdrant::{QdrantItemStore, QdrantSettings},
    domain::{
        ids::ContentId,
        item::Item,
        ranking_config::{Preset, RankingConfig},
        restriction::Restriction,
        vector::UnitVector,
    },
    edge::settings::ServerSettings,
    engine::{Engine, Ports},
    ports::{Deadline, Found, ItemStore, Search, SearchOrder, StoreErrorKind},
    proto::{self, IngestOutcome, RecommendStrategy, SignalsSource},
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tonic::{Code, Status};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_types::StatusExt as _;

use crate::support::{
    MemoryWorld, catalogue,
    certificates::Certificates,
    items::{half_circle, item},
    qdrant::{HttpOnly, QdrantServer},
    server::{NOW, TestServer, ids, liked, reason},
};

/// A server of Qdrant's protocol with a catalogue, and a recommender over it.
struct Shop {
    qdrant: QdrantServer,
    settings: QdrantSettings,
    server: TestServer,
}

impl Shop {
    async fn with(items: Vec<Item>) -> Self {
        let qdrant = QdrantServer::start().await;
        Self::over(qdrant, catalogue::own_settings(), items).await
    }

    /// With a collection that an older version created: tags have no vector.
    async fn without_tag_vector(items: Vec<Item>) -> Self {
        let qdrant = QdrantServer::start().await;
        let settings = catalogue::own_settings();
        qdrant.create_collection(&settings.collection_name, 2, Distance::Cosine);
        Self::over(qdrant, settings, items).await
    }

    async fn over(qdrant: QdrantServer, settings: QdrantSettings, items: Vec<Item>) -> Self {
        let store = catalogue::store(&qdrant.url(), &settings);
        store.prepare(Some(2)).await.unwrap();
        for chunk in items.chunks(1_000) {
            for stored in store.upsert(chunk.to_vec()).await.unwrap() {
                stored.unwrap();
            }
        }
        let server = serving(store).await;
        Self {
            qdrant,
            settings,
            server,
        }
    }

    /// Another process on the same collection.
    async fn another(&self) -> TestServer {
        serving(self.store()).await
    }

    /// The catalogue as a third process has it.
    fn store(&self) -> QdrantItemStore {
        catalogue::store(&self.qdrant.url(), &self.settings)
    }

    fn collection(&self) -> &str {
        &self.settings.collection_name
    }

    async fn list(&self, user: &str) -> Result<proto::RecommendResponse, Status> {
        self.server.recommend(recommend_request(user)).await
    }
}

/// Every list explores, with the item farthest from the taste.
async fn serving(store: QdrantItemStore) -> TestServer {
    let config = RankingConfig::of(Preset::Reference);
    let world = MemoryWorld::new(NOW, &config, Vec::new());
    let ports = Ports {
        items: Arc::new(store),
        ..world.ports.clone()
    };
    let engine = Engine::new(ports, config, MemoryWorld::settings());
    TestServer::serving(world, engine, ServerSettings::default()).await
}

fn recommend_request(user: &str) -> proto::RecommendRequest {
    proto::RecommendRequest {
        user_id: user.to_owned(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_list_takes_one_batch_and_one_more_call_for_uncached_items() {
    let shop = Shop::with(half_circle(100)).await;
    shop.server.ingest(liked("u", "i001")).await.unwrap();
    shop.qdrant.reset_calls();
    assert_eq!(
        shop.list("u").await.unwrap().strategy(),
        RecommendStrategy::Warm
    );
    let calls = || ["QueryBatch", "Get", "Scroll"].map(|rpc| shop.qdrant.calls(rpc));
    assert_eq!(calls(), [1, 1, 0], "contents are not cached yet");
    shop.qdrant.reset_calls();
    for _ in 0..5 {
        shop.list("u").await.unwrap();
    }
    assert_eq!(calls(), [5, 0, 0], "contents are cached");
    let batch: QueryBatchPoints = shop.qdrant.requests("QueryBatch").pop().unwrap();
    assert_eq!(batch.query_points.len(), 3, "taste, tags, exploration");
    let all = format!("{batch:?}");
    assert!(
        !all.contains("Enable(true)"),
        "queries return ids alone: {all}"
    );

    shop.qdrant.reset_calls();
    for item in ["i001", "i002", "i001"] {
        shop.server.ingest(liked("u", item)).await.unwrap();
    }
    shop.server.signals("u").await;
    assert_eq!(calls(), [0, 0, 0], "events of cached items take no calls");
    shop.server.ingest(liked("u", "unheard-of")).await.unwrap();
    shop.server.ingest(liked("u", "unheard-of")).await.unwrap();
    assert_eq!(calls(), [0, 0, 1], "missing items are cached, too");
}

#[tokio::test]
async fn a_seed_gives_the_same_list_as_memory_does() {
    let shop = Shop::with(half_circle(60)).await;
    let config = RankingConfig::of(Preset::Reference);
    let memory = TestServer::with_config(half_circle(60), config).await;
    for server in [&shop.server, &memory] {
        server.ingest(liked("warm", "i020")).await.unwrap();
    }
    for user in ["warm", "cold"] {
        for seed in 0..5 {
            let request = proto::RecommendRequest {
                seed: Some(seed),
                ..recommend_request(user)
            };
            let ours = shop.server.recommend(request.clone()).await.unwrap();
            let other = memory.recommend(request).await.unwrap();
            assert_eq!(ids(&ours), ids(&other), "{user}, seed {seed}");
        }
    }
    for label in ["sixth 0", "sixth 2", "nowhere"] {
        for seed in 0..5 {
            let request = proto::RecommendRequest {
                seed: Some(seed),
                filter: label.to_owned(),
                near: Some(proto::GeoPoint::default()),
                ..recommend_request("warm")
            };
            let ours = shop.server.recommend(request.clone()).await.unwrap();
            let other = memory.recommend(request).await.unwrap();
            assert_eq!(ids(&ours), ids(&other), "{label}, seed {seed}");
            let pool = |list: proto::RecommendResponse| list.diagnostics.unwrap().generators;
            assert_eq!(pool(ours), pool(other), "{label}, seed {seed}");
        }
    }
    let lists = [shop.list("cold").await, shop.list("cold").await];
    let lists = lists.map(|list| ids(&list.unwrap()).join(" "));
    assert_ne!(lists[0], lists[1], "without one, samples differ");
}

#[tokio::test]
async fn a_seeded_restricted_list_draws_its_sample_only_if_there_is_room() {
    let shop = Shop::with(half_circle(600)).await;
    shop.server.ingest(liked("u", "i001")).await.unwrap();
    let calls = async |label: &str| {
        let request = proto::RecommendRequest {
            seed: Some(7),
            filter: label.to_owned(),
            ..recommend_request("u")
        };
        shop.server.recommend(request.clone()).await.unwrap();
        shop.qdrant.reset_calls();
        let list = shop.server.recommend(request).await.unwrap();
        assert_eq!(list.items.len(), 10);
        let generators = list.diagnostics.unwrap().generators;
        let calls = ["QueryBatch", "Get", "Scroll"].map(|rpc| shop.qdrant.calls(rpc));
        (calls, generators["sample"])
    };
    assert_eq!(calls("sixth 0").await, ([1, 0, 0], 0), "the pool is full");
    for index in 0..12 {
        let rare = item(&format!("rare{index}")).tag("theme", "rare", 1.0);
        shop.store().upsert(vec![rare.build()]).await.unwrap();
    }
    assert_eq!(
        calls("rare").await,
        ([1, 0, 1], 12),
        "no other generator finds them"
    );
}

#[tokio::test]
async fn a_heavy_reader_still_gets_new_items_near_their_taste() {
    let mut shop = Shop::with(half_circle(7_000)).await;
    // Without a cache: every item has to be read.
    shop.settings.item_cache_max_bytes = 1;
    shop.server = shop.another().await;
    // 5,000 items were seen, among them the 1,000 nearest to the liked one.
    let seen: Vec<String> = (0..5_000).map(|index| format!("i{index:03}")).collect();
    for batch in seen.chunks(1_000) {
        let events = batch
            .iter()
            .map(|id| match id.as_str() {
                "i500" => liked("heavy", id),
                _ => proto::InteractionEvent {
                    event_type: "CONTENT_OPENED".to_owned(),
                    ..crate::support::server::disliked("heavy", id)
                },
            })
            .collect();
        for result in shop.server.batch(events).await.unwrap().results {
            assert_eq!(result.outcome(), IngestOutcome::Accepted);
        }
    }
    shop.qdrant.reset_calls();
    let list = shop.list("heavy").await.unwrap();
    assert_eq!(list.items.len(), 10);
    let reads: Vec<GetPoints> = shop.qdrant.requests("Get");
    let read: usize = reads.iter().map(|read| read.ids.len()).sum();
    assert!(read < 300, "{read} items were read for a list of 10");
    assert_eq!(shop.qdrant.calls("QueryBatch"), 2);
    let diagnostics = list.diagnostics.clone().unwrap();
    assert!(!diagnostics.cold_start_fallback && !diagnostics.seen_fallback);
    assert!(
        ids(&list)
            .iter()
            .all(|id| !seen.contains(&(*id).to_owned()))
    );
    // The nearest unseen items follow the last seen one.
    let near = list.items.iter().filter(|item| {
        let number: usize = item.content_id[1..].parse().unwrap();
        (5_000..5_100).contains(&number)
    });
    assert!(near.count() >= 9, "{:?}", ids(&list));
}

#[tokio::test]
async fn writes_are_seen_at_once_by_this_process_and_later_by_others() {
    let mut shop = Shop::with(half_circle(30)).await;
    shop.settings.item_cache_ttl = Duration::from_millis(50);
    let other = shop.another().await;
    for server in [&shop.server, &other] {
        server.ingest(liked("u", "i010")).await.unwrap();
        server.recommend(recommend_request("u")).await.unwrap();
    }
    let first = ids(&shop.list("u").await.unwrap())[0].to_owned();
    let mut catalog = shop.server.catalog();
    let request = proto::DeleteItemsRequest {
        content_ids: vec![first.clone()],
    };
    catalog.delete_items(request).await.unwrap();
    for server in [&shop.server, &other] {
        let list = server.recommend(recommend_request("u")).await.unwrap();
        assert!(!ids(&list).contains(&first.as_str()), "{:?}", ids(&list));
    }

    let second = ids(&shop.list("u").await.unwrap())[0].to_owned();
    let request = proto::UpsertItemsRequest {
        items: vec![proto::Item {
            content_id: second.clone(),
            title: "renamed".to_owned(),
            vector: vec![0.5, 0.5],
            ..Default::default()
        }],
    };
    catalog.upsert_items(request).await.unwrap();
    let title = async |server: &TestServer| {
        let request = proto::GetItemsRequest {
            content_ids: vec![second.clone()],
        };
        let reply = server.catalog().get_items(request).await.unwrap();
        reply.into_inner().items[0].title.clone()
    };
    assert_eq!(title(&shop.server).await, "renamed");
    while title(&other).await != "renamed" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_missing_collection_is_a_failed_precondition_that_names_it() {
    let shop = Shop::with(half_circle(30)).await;
    shop.qdrant.drop_collection(shop.collection());
    let uncached = shop.another().await;
    let request = proto::GetItemsRequest {
        content_ids: vec!["i001".into()],
    };
    let status = uncached.catalog().get_items(request).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    let message = status.message();
    assert!(message.contains(shop.collection()), "{message}");
    assert!(message.contains("recsys catalog import"), "{message}");
    let status = uncached
        .recommend(recommend_request("u"))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
}

#[tokio::test]
async fn without_qdrant_lists_come_from_the_cache_and_events_are_accepted() {
    let shop = Shop::with(half_circle(100)).await;
    shop.server.ingest(liked("u", "i001")).await.unwrap();
    let all = (0..100).map(|index| format!("i{index:03}")).collect();
    let request = proto::GetItemsRequest { content_ids: all };
    shop.server.catalog().get_items(request).await.unwrap();
    // A process with an empty cache, and one with too few items in it.
    let (uncached, sparse) = (shop.another().await, shop.another().await);
    let request = proto::GetItemsRequest {
        content_ids: ["i001", "i002", "i003"].map(str::to_owned).to_vec(),
    };
    sparse.catalog().get_items(request).await.unwrap();

    shop.qdrant.stop();
    let list = shop.list("u").await.unwrap();
    assert_eq!(list.items.len(), 10);
    assert_eq!(list.diagnostics.unwrap().degraded, ["catalogue"]);
    // An item that is not cached: the event counts nevertheless.
    let reply = shop.server.ingest(liked("u", "new-item")).await.unwrap();
    assert_eq!(reply.outcome(), IngestOutcome::Accepted);
    let (model, source) = shop.server.signals("u").await;
    assert!(model.viewed.contains(&"new-item".to_owned()));
    assert_eq!(source, SignalsSource::Rebuilt, "the model is incomplete");
    assert!(model.tag_affinity.len() == 1, "but has the cached items");
    let degraded = shop.list("u").await.unwrap().diagnostics.unwrap().degraded;
    assert!(degraded.contains(&"user_model".to_owned()), "{degraded:?}");
    for process in [&uncached, &sparse] {
        let status = process.recommend(recommend_request("u")).await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::Unavailable, "CATALOG_UNAVAILABLE")
        );
    }

    shop.qdrant.restart();
    while shop.server.signals("u").await.1 != SignalsSource::Materialized {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (model, _) = shop.server.signals("u").await;
    assert!(!model.tag_affinity.is_empty(), "complete again");
    let list = shop.list("u").await.unwrap();
    assert!(list.diagnostics.unwrap().degraded.is_empty());
}

#[tokio::test]
async fn health_reports_when_qdrant_stops_and_resumes_answering() {
    let shop = Shop::with(half_circle(10)).await;
    let serving = async |service: &str| {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let reply = HealthClient::new(shop.server.channel.clone())
            .check(request)
            .await;
        reply.unwrap().into_inner().status() == ServingStatus::Serving
    };
    let services = ["recsys.v1.CatalogService", "recsys.v1.RecommenderService"];
    for answers in [true, false, true] {
        if answers {
            shop.qdrant.restart();
        } else {
            shop.qdrant.stop();
        }
        for service in services {
            while serving(service).await != answers {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        assert!(serving("readiness").await, "ready for degraded answers");
    }
}

#[tokio::test]
async fn expired_liked_items_are_used_during_an_outage() {
    let mut shop = Shop::with(half_circle(100)).await;
    shop.settings.item_cache_ttl = Duration::from_nanos(1);
    let server = shop.another().await;
    server.ingest(liked("u", "i001")).await.unwrap();
    let all = (0..100).map(|index| format!("i{index:03}")).collect();
    let request = proto::GetItemsRequest { content_ids: all };
    server.catalog().get_items(request).await.unwrap();
    shop.qdrant.stop();
    let list = server.recommend(recommend_request("u")).await.unwrap();
    assert!(list.items.iter().any(|item| item.similar_to == "i001"));
    let degraded = list.diagnostics.unwrap().degraded;
    assert_eq!(degraded, ["liked_items", "catalogue"]);
}

/// On a runtime with a single worker: another task runs during a poll of the
/// search.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_long_search_of_the_cache_does_not_delay_other_tasks() {
    let shop = Shop::with(half_circle(5_000)).await;
    let store = shop.store();
    let ids: Vec<ContentId> = (0..5_000)
        .map(|index| format!("i{index:03}").as_str().into())
        .collect();
    store.get(&ids, Deadline::NONE).await.unwrap();
    shop.qdrant.stop();

    let yields = Arc::new(AtomicUsize::new(0));
    let counted = yields.clone();
    let other = tokio::spawn(async move {
        loop {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
        }
    });
    let searcher = tokio::spawn(async move {
        let (open, nothing) = (Restriction::default(), HashSet::new());
        let search = || Search {
            order: SearchOrder::NearestTo(UnitVector::new(&[1.0, 0.0]).unwrap()),
            restriction: &open,
            exclude: &nothing,
            exclude_afterwards: &nothing,
            limit: 10,
        };
        let searches = [search(), search(), search()];
        // The machine may be too busy to let the other task run in time.
        for _ in 0..500 {
            let mut found = store.search(&searches, Deadline::NONE);
            let mut most = 0;
            let found = std::future::poll_fn(|context| {
                let before = yields.load(Ordering::SeqCst);
                let polled = found.as_mut().poll(context);
                most = most.max(yields.load(Ordering::SeqCst) - before);
                polled
            });
            let found = found.await.unwrap();
            assert!(matches!(&found[0], Found::Cached(items) if items.len() == 10));
            if most > 0 {
                return true;
            }
        }
        false
    });
    assert!(
        searcher.await.unwrap(),
        "the other task never ran during a search"
    );
    other.abort();
}

#[tokio::test]
async fn a_hanging_qdrant_times_out() {
    let mut shop = Shop::with(half_circle(100)).await;
    shop.settings.qdrant_timeout = Duration::from_millis(200);
    let server = shop.another().await;
    shop.qdrant.hang();
    let status = server.recommend(recommend_request("u")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    shop.qdrant.heal();
    while server.recommend(recommend_request("u")).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn an_api_key_is_sent_and_a_wrong_port_is_reported_with_the_right_one() {
    let mut shop = Shop::with(half_circle(10)).await;
    shop.qdrant.require_api_key("open sesame");
    let without = catalogue::store(&shop.qdrant.url(), &shop.settings);
    let text = catalogue::chain(&without.check().await.unwrap_err());
    assert!(text.contains("QDRANT_API_KEY"), "{text}");
    shop.settings.qdrant_api_key = Some("open sesame".to_owned().into());
    let with = catalogue::store(&shop.qdrant.url(), &shop.settings);
    with.check().await.unwrap();
    assert!(!format!("{:?}", shop.settings).contains("sesame"));

    let rest = HttpOnly::start().await;
    let wrong = catalogue::store(&rest.url(), &shop.settings);
    let text = catalogue::chain(&wrong.check().await.unwrap_err());
    assert!(
        text.contains("6334") && text.contains("QDRANT_GRPC_PORT"),
        "{text}"
    );
}

#[tokio::test]
async fn wrong_settings_are_not_reported_to_clients_and_lists_come_from_the_cache() {
    let shop = Shop::with(half_circle(100)).await;
    let all = (0..100).map(|index| format!("i{index:03}")).collect();
    let request = proto::GetItemsRequest { content_ids: all };
    shop.server.catalog().get_items(request).await.unwrap();
    shop.qdrant.require_api_key("open sesame");
    let error = shop.store().check().await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Misconfigured);

    let list = shop.list("u").await.unwrap();
    assert_eq!(list.items.len(), 10);
    assert_eq!(list.diagnostics.unwrap().degraded, ["catalogue"]);
    let uncached = shop.another().await;
    let status = uncached
        .recommend(recommend_request("u"))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unavailable, "CATALOG_UNAVAILABLE")
    );
    let hint = status.get_details_retry_info().unwrap();
    assert!(hint.retry_delay.is_some());
    assert!(!format!("{status:?}").contains("KEY"), "{status:?}");
}

#[tokio::test]
async fn an_untrusted_certificate_and_missing_tls_are_reported() {
    let shop = Shop::with(Vec::new()).await;
    let certificates = Certificates::new();
    let url = behind_tls(&certificates, &shop.qdrant.url()).await;
    let no_tls = shop.qdrant.url().replace("http", "https");
    for (url, advice) in [
        (url, "QDRANT_TLS_CA_FILE"),
        (no_tls, "begin it with http://"),
    ] {
        let store = catalogue::store(&url, &shop.settings);
        let error = store.check().await.unwrap_err();
        let text = catalogue::chain(&error);
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{text}");
        assert!(text.contains(advice), "{text}");
    }
}

#[tokio::test]
async fn points_of_other_programs_are_recommended() {
    let shop = Shop::with(Vec::new()).await;
    let vector = |turn: f32| Some(vec![turn.cos(), turn.sin()]);
    for number in 0..20_u64 {
        let payload = json!({
            "title": format!("T{number}"), "tags": [{"facet": "Theme", "label": "Sea"}],
            "tag_labels": ["theme:sea"], "tag_values": ["sea"],
            "imageUrl": "x", "text_length_words": 40,
            "location": {"lat": 57.0, "lon": 12.0},
            "time_metadata": {"dates_of_creation": ["1890"]},
        });
        shop.qdrant.insert(
            shop.collection(),
            number,
            payload,
            vector(number as f32 / 20.0),
        );
    }
    shop.server.ingest(liked("u", "3")).await.unwrap();
    let request = proto::RecommendRequest {
        include_content: true,
        must: vec![proto::TagFilter {
            facet: "theme".into(),
            label: "SEA".into(),
        }],
        ..recommend_request("u")
    };
    let list = shop.server.recommend(request).await.unwrap();
    assert_eq!(list.items.len(), 10);
    let content = list.items[0].content.clone().unwrap();
    assert!(content.has_image && content.word_count == 40);
    assert_eq!(content.years, [1890]);
}

#[tokio::test]
async fn named_vectors_and_items_without_any_are_kept() {
    let qdrant = QdrantServer::start().await;
    let settings = catalogue::own_settings();
    let name = &settings.collection_name;
    let cosine = Distance::Cosine;
    qdrant.create_named_collection(name, &[("dense", 2, cosine)]);
    let store = catalogue::store(&qdrant.url(), &settings);
    assert_eq!(store.prepare(Some(2)).await.unwrap(), Some(2));
    let items = vec![item("SKU-1").vector(&[3.0, 4.0]).build(), item("7").build()];
    for stored in store.upsert(items).await.unwrap() {
        stored.unwrap();
    }
    let read = store
        .get(&["SKU-1".into(), "7".into()], Deadline::NONE)
        .await
        .unwrap();
    let vector = read[0].as_ref().unwrap().vector().unwrap();
    assert!((vector.to_vec()[0] - 0.6).abs() < 1e-6);
    assert!(read[1].as_ref().unwrap().vector().is_none());
}

/// Terminates TLS in front of a server, as a proxy does.
async fn behind_tls(certificates: &Certificates, url: &str) -> String {
    let to = url.trim_start_matches("http://").to_owned();
    let pem = |name: &str| std::fs::read(certificates.path(name)).unwrap();
    let chain = CertificateDer::pem_slice_iter(&pem("server.pem"))
        .map(Result::unwrap)
        .collect();
    let key = PrivateKeyDer::from_pem_slice(&pem("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (acceptor, to) = (acceptor.clone(), to.clone());
            tokio::spawn(async move {
                if let Ok(mut client) = acceptor.accept(client).await {
                    let mut server = TcpStream::connect(to).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                }
            });
        }
    });
    format!("https://localhost:{port}")
}

#[tokio::test]
async fn tls_works_with_a_private_ca() {
    let mut shop = Shop::with(half_circle(10)).await;
    let certificates = Certificates::new();
    let url = behind_tls(&certificates, &shop.qdrant.url()).await;
    let untrusting = catalogue::store(&url, &shop.settings);
    assert!(
        untrusting.check().await.is_err(),
        "the certificate is not trusted"
    );
    shop.settings.qdrant_tls_ca_file = Some(certificates.path("ca.pem").into());
    let store = catalogue::store(&url, &shop.settings);
    store.check().await.unwrap();
    assert!(store.get(&["i001".into()], Deadline::NONE).await.unwrap()[0].is_some());
}
