//! A catalogue in Qdrant that fails, with the users' state in a real Redis.

use std::{sync::Arc, time::Duration};

use recsys::{
    adapters::qdrant::QdrantSettings,
    domain::ranking_config::RankingConfig,
    edge::settings::ServerSettings,
    engine::Ports,
    ports::ItemStore as _,
    proto::{self, IngestOutcome, SignalsSource},
};
use tonic::Code;

use super::{assert_catalogue_unavailable, assert_stored_for, deliver, event, recommend_request};
use crate::support::{
    MemoryWorld, catalogue,
    items::half_circle,
    proxy::{End, Proxy, Way},
    qdrant::QdrantServer,
    redis::{engine, own_prefix, ports, shared},
    server::{NOW, TestServer, ids, liked, named},
    until,
};

/// A process that has cached all items, and one with an empty cache, over one
/// Qdrant behind a proxy and one Redis.
struct Processes {
    qdrant: QdrantServer,
    proxy: Proxy,
    prefix: String,
    settings: QdrantSettings,
    cached: TestServer,
    uncached: TestServer,
}

impl Processes {
    /// With a long timeout.
    async fn with_long_timeout() -> Self {
        Self::with(catalogue::own_settings()).await
    }

    /// With a short timeout.
    async fn with_short_timeout() -> Self {
        Self::with(QdrantSettings {
            qdrant_timeout: Duration::from_millis(300),
            ..catalogue::own_settings()
        })
        .await
    }

    async fn with(settings: QdrantSettings) -> Self {
        let qdrant = QdrantServer::start().await;
        let long_timeout = QdrantSettings {
            qdrant_timeout: Duration::from_secs(20),
            ..settings.clone()
        };
        fill(&qdrant, &long_timeout).await;
        let proxy = Proxy::to(qdrant.port()).await;
        let prefix = own_prefix();
        let cached = serving(&proxy, &settings, &prefix).await;
        // It has cached no items, but has read the collection's schema.
        let uncached = serving(&proxy, &settings, &prefix).await;
        let processes = Self {
            qdrant,
            proxy,
            prefix,
            settings,
            cached,
            uncached,
        };
        deliver(&processes.cached, &event("u", "before")).await;
        let all = (0..100).map(|index| format!("i{index:03}"));
        let request = proto::GetItemsRequest {
            content_ids: all.collect(),
        };
        let read = async || {
            processes
                .cached
                .catalog()
                .get_items(request.clone())
                .await
                .is_ok()
        };
        until("all items are cached", read).await;
        processes
    }

    /// Checks the calls during an outage of Qdrant, and the recovery after it.
    async fn outage(&self, begin: impl AsyncFnOnce(&Self), end: impl AsyncFnOnce(&Self)) {
        begin(self).await;
        for round in 0..2 {
            let list = self.cached.recommend(recommend_request("u")).await.unwrap();
            assert_eq!(list.items.len(), 10);
            let degraded = list.diagnostics.unwrap().degraded;
            assert!(degraded.contains(&"catalogue".to_owned()), "{degraded:?}");
            let refused = self
                .uncached
                .recommend(recommend_request("nobody"))
                .await
                .unwrap_err();
            assert_catalogue_unavailable(&refused);
            let request = proto::GetItemsRequest {
                content_ids: vec!["i001".into()],
            };
            let refused = self
                .uncached
                .catalog()
                .get_items(request)
                .await
                .unwrap_err();
            assert_catalogue_unavailable(&refused);
            // This item is not cached here; the event counts nevertheless.
            let id = format!("meanwhile {round}");
            let taken = self.uncached.ingest(named(&id, liked("u", "i050"))).await;
            assert_eq!(taken.unwrap().outcome(), IngestOutcome::Accepted);
            let (model, source) = self.uncached.signals("u").await;
            assert_eq!(model.event_count, 2 + round);
            assert_eq!(source, SignalsSource::Rebuilt, "the model is incomplete");
        }
        end(self).await;
        self.check_recovery().await;
    }

    /// The next reads complete the model, and lists are not degraded.
    async fn check_recovery(&self) {
        let complete = async || self.uncached.signals("u").await.1 == SignalsSource::Materialized;
        until("the model is complete", complete).await;
        let (model, _) = self.uncached.signals("u").await;
        assert_eq!(model.positives.len(), 2, "{model:?}");
        assert!(!model.taste_vector.is_empty() && model.tag_affinity.len() == 2);
        let ids = ["before", "meanwhile 0", "meanwhile 1"];
        assert_stored_for(&self.uncached, shared(), &self.prefix, "u", &ids).await;
        for server in [&self.cached, &self.uncached] {
            let whole = async || match server.recommend(recommend_request("u")).await {
                Ok(list) => list.diagnostics.unwrap().degraded.is_empty(),
                Err(status) => {
                    assert_catalogue_unavailable(&status);
                    false
                }
            };
            until("lists are not degraded", whole).await;
        }
    }
}

/// Creates the collection with 100 items.
async fn fill(qdrant: &QdrantServer, settings: &QdrantSettings) {
    let store = catalogue::store(&qdrant.url(), settings);
    store.prepare(Some(2)).await.unwrap();
    for stored in store.upsert(half_circle(100)).await.unwrap() {
        stored.unwrap();
    }
}

async fn serving(proxy: &Proxy, settings: &QdrantSettings, prefix: &str) -> TestServer {
    let world = MemoryWorld::new(NOW, &RankingConfig::default(), Vec::new());
    let store = catalogue::store(&format!("http://{}", proxy.address()), settings);
    let ports = Ports {
        items: Arc::new(store),
        ..ports(&shared().pool(), prefix, &world)
    };
    TestServer::serving(world, engine(ports), ServerSettings::default()).await
}

async fn healed(processes: &Processes) {
    processes.proxy.heal().await;
    processes.qdrant.heal();
}

#[tokio::test]
async fn refused_connections_are_answered_from_memory_or_unavailable() {
    let processes = Processes::with_long_timeout().await;
    let refuse = async |processes: &Processes| {
        processes.proxy.refuse().await;
        processes.proxy.reset();
    };
    processes.outage(refuse, healed).await;
}

#[tokio::test]
async fn connections_reset_at_once_are_answered_from_memory_or_unavailable() {
    let processes = Processes::with_long_timeout().await;
    let turn_away = async |processes: &Processes| {
        processes.proxy.turn_away();
        processes.proxy.reset();
    };
    processes.outage(turn_away, healed).await;
}

#[tokio::test]
async fn a_hanging_qdrant_is_answered_from_memory_or_unavailable() {
    let processes = Processes::with_short_timeout().await;
    processes
        .outage(
            async |processes: &Processes| processes.qdrant.hang(),
            healed,
        )
        .await;
}

#[tokio::test]
async fn a_silent_partition_is_answered_from_memory_or_unavailable() {
    let processes = Processes::with_short_timeout().await;
    processes
        .outage(async |processes: &Processes| processes.proxy.hold(), healed)
        .await;
}

#[tokio::test]
async fn a_qdrant_slower_than_its_timeout_is_answered_from_memory_or_unavailable() {
    let processes = Processes::with_short_timeout().await;
    let slow = async |processes: &Processes| processes.qdrant.delay(Duration::from_secs(5));
    processes.outage(slow, healed).await;
}

#[tokio::test]
async fn every_temporary_code_is_answered_from_memory_or_unavailable() {
    for code in [Code::Internal, Code::Unavailable, Code::ResourceExhausted] {
        let processes = Processes::with_long_timeout().await;
        let fail = async |processes: &Processes| processes.qdrant.fail(code, "not now");
        processes.outage(fail, healed).await;
    }
}

#[tokio::test]
async fn a_reply_cut_at_any_byte_affects_only_its_call() {
    let processes = Processes::with_long_timeout().await;
    for end in [End::Reset, End::Close] {
        // From within the first frame's header to well into a reply.
        for bytes in (0..40).chain((40..600).step_by(40)) {
            processes.proxy.cut_after(bytes, Way::Replies, end);
            let list = processes
                .cached
                .recommend(recommend_request("u"))
                .await
                .unwrap();
            assert_eq!(list.items.len(), 10, "{end:?} after {bytes}");
            processes.proxy.heal().await;
        }
    }
    let ids = ["before"];
    assert_stored_for(&processes.cached, shared(), &processes.prefix, "u", &ids).await;
    let whole = async || {
        let list = processes
            .cached
            .recommend(recommend_request("u"))
            .await
            .unwrap();
        list.diagnostics.unwrap().degraded.is_empty()
    };
    until("lists are not degraded", whole).await;
}

#[tokio::test]
async fn an_ingest_whose_item_is_cut_off_is_acknowledged_and_completed_later() {
    let processes = Processes::with_long_timeout().await;
    let mut sent = vec!["before".to_owned()];
    for bytes in (0..200).step_by(5) {
        let item = format!("i{:03}", 10 + bytes / 5);
        processes.proxy.cut_after(bytes, Way::Replies, End::Reset);
        let event = named(&format!("cut {bytes:03}"), liked("u", &item));
        let taken = processes.uncached.ingest(event).await.unwrap();
        assert_eq!(taken.outcome(), IngestOutcome::Accepted);
        assert_eq!(taken.buffered_events as usize, sent.len() + 1);
        sent.push(format!("cut {bytes:03}"));
        processes.proxy.heal().await;
    }
    let complete = async || processes.uncached.signals("u").await.1 == SignalsSource::Materialized;
    until("the model is complete", complete).await;
    let (model, _) = processes.uncached.signals("u").await;
    assert_eq!(model.positives.len(), sent.len(), "{:?}", model.positives);
    let ids: Vec<&str> = sent.iter().map(String::as_str).collect();
    assert_stored_for(&processes.uncached, shared(), &processes.prefix, "u", &ids).await;
}

#[tokio::test]
async fn a_lost_connection_is_not_reported_as_a_wrong_port() {
    let processes = Processes::with_long_timeout().await;
    let url = format!("http://{}", processes.proxy.address());
    let store = catalogue::store(&url, &processes.settings);
    let mut lost = 0;
    for end in [End::Reset, End::Close] {
        for bytes in 0..150 {
            store.check().await.unwrap();
            processes.proxy.cut_after(bytes, Way::Replies, end);
            let Err(error) = store.check().await else {
                continue;
            };
            let text = catalogue::chain(&error);
            assert!(!text.contains("QDRANT_GRPC_PORT"), "{text}");
            lost += 1;
        }
    }
    assert!(lost > 0);
}

#[tokio::test]
async fn cancelled_lists_do_not_affect_others() {
    let processes = Processes::with_long_timeout().await;
    let list = |user: &str| {
        let (mut client, request) = (processes.cached.recommender(), recommend_request(user));
        tokio::spawn(async move { client.recommend(request).await })
    };
    let yields = async |yields| {
        for _ in 0..yields {
            tokio::task::yield_now().await;
        }
    };
    for round in 0..10 {
        // Queries and their cancellations reach Qdrant together.
        processes.proxy.hold_one(Way::Requests);
        let before = processes.proxy.seen(Way::Requests);
        let other = list("other");
        let given_up: Vec<_> = (0..100).map(|_| list("u")).collect();
        let sent = async || processes.proxy.seen(Way::Requests) > before;
        until("queries are sent", sent).await;
        yields(100 * round).await;
        for call in given_up {
            call.abort();
            let _ = call.await;
        }
        yields(100).await;
        processes.proxy.heal().await;
        let list = other.await.unwrap().unwrap().into_inner();
        let degraded = list.diagnostics.unwrap().degraded;
        assert!(degraded.is_empty(), "{degraded:?}");
    }
}

#[tokio::test]
async fn an_interrupted_write_is_unavailable_and_a_retry_completes_it() {
    let processes = Processes::with_long_timeout().await;
    let written = |number: usize| proto::UpsertItemsRequest {
        items: vec![proto::Item {
            content_id: format!("new-{number}"),
            title: "new".to_owned(),
            vector: vec![0.5, 0.5],
            ..Default::default()
        }],
    };
    let mut failed = 0;
    for number in 0..30 {
        let mut catalog = processes.cached.catalog();
        processes
            .proxy
            .cut_after(number * 10, Way::Replies, End::Reset);
        while let Err(status) = catalog.upsert_items(written(number)).await {
            assert_catalogue_unavailable(&status);
            failed += 1;
        }
        processes.proxy.heal().await;
    }
    assert!(failed > 0, "some calls were cut");
    let points = processes
        .qdrant
        .points_count(&processes.settings.collection_name);
    assert_eq!(points, 130, "each once");
}

#[tokio::test]
async fn a_qdrant_that_dies_between_two_calls_is_answered_from_memory() {
    let processes = Processes::with_long_timeout().await;
    // This process has cached what is near to i001, but not what is far from it.
    let half = (0..60).map(|index| format!("i{index:03}"));
    let request = proto::GetItemsRequest {
        content_ids: half.collect(),
    };
    processes
        .uncached
        .catalog()
        .get_items(request)
        .await
        .unwrap();
    // It proposes items, and is down when their contents are read.
    processes.qdrant.fail_rpc("Get", Code::Unavailable, "gone");
    processes.qdrant.reset_calls();
    let list = processes
        .uncached
        .recommend(recommend_request("u"))
        .await
        .unwrap();
    assert_eq!(
        ["QueryBatch", "Get"].map(|rpc| processes.qdrant.calls(rpc)),
        [1, 1]
    );
    assert_eq!(list.items.len(), 10);
    let remembered = |id: &&str| id[1..].parse::<usize>().unwrap() < 60;
    assert!(ids(&list).iter().all(remembered));
    assert_eq!(list.diagnostics.unwrap().degraded, ["catalogue"]);
    // The process with all items cached does not read them.
    let list = processes
        .cached
        .recommend(recommend_request("u"))
        .await
        .unwrap();
    assert!(list.diagnostics.unwrap().degraded.is_empty());

    processes.qdrant.heal();
    let list = processes
        .uncached
        .recommend(recommend_request("u"))
        .await
        .unwrap();
    assert!(list.diagnostics.unwrap().degraded.is_empty());
}

#[tokio::test]
async fn a_collection_dropped_while_serving_is_reported_and_found_again() {
    let processes = Processes::with_long_timeout().await;
    let name = &processes.settings.collection_name;
    processes.qdrant.drop_collection(name);
    for server in [&processes.cached, &processes.uncached] {
        let refused = server.recommend(recommend_request("u")).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
        assert!(refused.message().contains(name), "{refused}");
    }
    for round in 0..2 {
        let event = named(&format!("meanwhile {round}"), liked("u", "i050"));
        let taken = processes.uncached.ingest(event).await.unwrap();
        assert_eq!(taken.outcome(), IngestOutcome::Accepted);
    }
    fill(&processes.qdrant, &processes.settings).await;
    let found = async || {
        processes
            .uncached
            .recommend(recommend_request("u"))
            .await
            .is_ok()
    };
    until("the collection is found again", found).await;
    processes.check_recovery().await;
}
