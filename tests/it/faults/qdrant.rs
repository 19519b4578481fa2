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

use super::{catalogue_unavailable, deliver, event, kept_of, wanted};
use crate::support::{
    MemoryWorld, catalogue,
    items::half_circle,
    proxy::{End, Proxy, Way},
    qdrant::QdrantServer,
    redis::{engine, own_prefix, ports, shared},
    server::{NOW, TestServer, ids, liked, named},
    until,
};

/// A shop that knows its items, and one that was opened a moment ago, over one
/// Qdrant behind a proxy and one Redis.
struct Shops {
    qdrant: QdrantServer,
    proxy: Proxy,
    prefix: String,
    settings: QdrantSettings,
    known: TestServer,
    fresh: TestServer,
}

impl Shops {
    /// With a time-out that is never met.
    async fn patient() -> Self {
        Self::with(catalogue::own_settings()).await
    }

    /// With a time-out that is soon met.
    async fn hasty() -> Self {
        Self::with(QdrantSettings {
            qdrant_timeout: Duration::from_millis(300),
            ..catalogue::own_settings()
        })
        .await
    }

    async fn with(settings: QdrantSettings) -> Self {
        let qdrant = QdrantServer::start().await;
        let patient = QdrantSettings {
            qdrant_timeout: Duration::from_secs(20),
            ..settings.clone()
        };
        fill(&qdrant, &patient).await;
        let proxy = Proxy::to(qdrant.port()).await;
        let prefix = own_prefix();
        let known = serving(&proxy, &settings, &prefix).await;
        // Fresh of items, but it has learned what the collection is like.
        let fresh = serving(&proxy, &settings, &prefix).await;
        let shops = Self {
            qdrant,
            proxy,
            prefix,
            settings,
            known,
            fresh,
        };
        deliver(&shops.known, &event("u", "before")).await;
        let all = (0..100).map(|index| format!("i{index:03}"));
        let request = proto::GetItemsRequest {
            content_ids: all.collect(),
        };
        let read = async || {
            shops
                .known
                .catalog()
                .get_items(request.clone())
                .await
                .is_ok()
        };
        until("all items are known", read).await;
        shops
    }

    /// What callers see while nothing of Qdrant can be used, and that all is
    /// whole again afterwards.
    async fn outage(&self, begin: impl AsyncFnOnce(&Self), end: impl AsyncFnOnce(&Self)) {
        begin(self).await;
        for round in 0..2 {
            let list = self.known.recommend(wanted("u")).await.unwrap();
            assert_eq!(list.items.len(), 10);
            let degraded = list.diagnostics.unwrap().degraded;
            assert!(degraded.contains(&"catalogue".to_owned()), "{degraded:?}");
            let refused = self.fresh.recommend(wanted("nobody")).await.unwrap_err();
            catalogue_unavailable(&refused);
            let request = proto::GetItemsRequest {
                content_ids: vec!["i001".into()],
            };
            let refused = self.fresh.catalog().get_items(request).await.unwrap_err();
            catalogue_unavailable(&refused);
            // Nothing is remembered of this item here, and still it counts.
            let id = format!("meanwhile {round}");
            let taken = self.fresh.ingest(named(&id, liked("u", "i050"))).await;
            assert_eq!(taken.unwrap().outcome(), IngestOutcome::Accepted);
            let (model, source) = self.fresh.signals("u").await;
            assert_eq!(model.event_count, 2 + round);
            assert_eq!(source, SignalsSource::Rebuilt, "it is not complete");
        }
        end(self).await;
        self.whole_again().await;
    }

    /// The next readings complete the model, and lists are as ever.
    async fn whole_again(&self) {
        let complete = async || self.fresh.signals("u").await.1 == SignalsSource::Materialized;
        until("the model is complete", complete).await;
        let (model, _) = self.fresh.signals("u").await;
        assert_eq!(model.positives.len(), 2, "{model:?}");
        assert!(!model.taste_vector.is_empty() && model.tag_affinity.len() == 2);
        let ids = ["before", "meanwhile 0", "meanwhile 1"];
        kept_of(&self.fresh, shared(), &self.prefix, "u", &ids).await;
        for server in [&self.known, &self.fresh] {
            let whole = async || match server.recommend(wanted("u")).await {
                Ok(list) => list.diagnostics.unwrap().degraded.is_empty(),
                Err(status) => {
                    catalogue_unavailable(&status);
                    false
                }
            };
            until("lists are whole", whole).await;
        }
    }
}

/// Makes the collection, with 100 items in it.
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

async fn healed(shops: &Shops) {
    shops.proxy.heal().await;
    shops.qdrant.heal();
}

#[tokio::test]
async fn refused_connections_are_answered_from_memory_or_unavailable() {
    let shops = Shops::patient().await;
    let refuse = async |shops: &Shops| {
        shops.proxy.refuse().await;
        shops.proxy.reset();
    };
    shops.outage(refuse, healed).await;
}

#[tokio::test]
async fn connections_reset_as_they_are_made_are_answered_from_memory_or_unavailable() {
    let shops = Shops::patient().await;
    let turn_away = async |shops: &Shops| {
        shops.proxy.turn_away();
        shops.proxy.reset();
    };
    shops.outage(turn_away, healed).await;
}

#[tokio::test]
async fn a_qdrant_that_hangs_is_answered_for_from_memory_or_unavailable() {
    let shops = Shops::hasty().await;
    shops
        .outage(async |shops: &Shops| shops.qdrant.hang(), healed)
        .await;
}

#[tokio::test]
async fn a_silent_partition_is_answered_from_memory_or_unavailable() {
    let shops = Shops::hasty().await;
    shops
        .outage(async |shops: &Shops| shops.proxy.hold(), healed)
        .await;
}

#[tokio::test]
async fn a_qdrant_slower_than_its_time_out_is_answered_for_from_memory_or_unavailable() {
    let shops = Shops::hasty().await;
    let slow = async |shops: &Shops| shops.qdrant.delay(Duration::from_secs(5));
    shops.outage(slow, healed).await;
}

#[tokio::test]
async fn every_code_that_waiting_mends_is_answered_from_memory_or_unavailable() {
    for code in [Code::Internal, Code::Unavailable, Code::ResourceExhausted] {
        let shops = Shops::patient().await;
        let fail = async |shops: &Shops| shops.qdrant.fail(code, "not now");
        shops.outage(fail, healed).await;
    }
}

#[tokio::test]
async fn a_reply_cut_at_any_byte_costs_its_call_alone() {
    let shops = Shops::patient().await;
    for end in [End::Reset, End::Close] {
        // From inside the first frame's head to well into a reply.
        for bytes in (0..40).chain((40..600).step_by(40)) {
            shops.proxy.cut_after(bytes, Way::Replies, end);
            let list = shops.known.recommend(wanted("u")).await.unwrap();
            assert_eq!(list.items.len(), 10, "{end:?} after {bytes}");
            shops.proxy.heal().await;
        }
    }
    let ids = ["before"];
    kept_of(&shops.known, shared(), &shops.prefix, "u", &ids).await;
    let whole = async || {
        let list = shops.known.recommend(wanted("u")).await.unwrap();
        list.diagnostics.unwrap().degraded.is_empty()
    };
    until("lists are whole", whole).await;
}

#[tokio::test]
async fn an_ingest_whose_item_is_cut_off_is_acknowledged_and_completed_later() {
    let shops = Shops::patient().await;
    let mut sent = vec!["before".to_owned()];
    for bytes in (0..200).step_by(5) {
        let item = format!("i{:03}", 10 + bytes / 5);
        shops.proxy.cut_after(bytes, Way::Replies, End::Reset);
        let event = named(&format!("cut {bytes:03}"), liked("u", &item));
        let taken = shops.fresh.ingest(event).await.unwrap();
        assert_eq!(taken.outcome(), IngestOutcome::Accepted);
        assert_eq!(taken.buffered_events as usize, sent.len() + 1);
        sent.push(format!("cut {bytes:03}"));
        shops.proxy.heal().await;
    }
    let complete = async || shops.fresh.signals("u").await.1 == SignalsSource::Materialized;
    until("the model is complete", complete).await;
    let (model, _) = shops.fresh.signals("u").await;
    assert_eq!(model.positives.len(), sent.len(), "{:?}", model.positives);
    let ids: Vec<&str> = sent.iter().map(String::as_str).collect();
    kept_of(&shops.fresh, shared(), &shops.prefix, "u", &ids).await;
}

#[tokio::test]
async fn a_lost_connection_is_not_told_as_a_wrong_port() {
    let shops = Shops::patient().await;
    let url = format!("http://{}", shops.proxy.address());
    let store = catalogue::store(&url, &shops.settings);
    let mut lost = 0;
    for end in [End::Reset, End::Close] {
        for bytes in 0..150 {
            store.check().await.unwrap();
            shops.proxy.cut_after(bytes, Way::Replies, end);
            let Err(error) = store.check().await else {
                continue;
            };
            let told = catalogue::chain(&error);
            assert!(!told.contains("QDRANT_GRPC_PORT"), "{told}");
            lost += 1;
        }
    }
    assert!(lost > 0);
}

#[tokio::test]
async fn lists_that_nobody_waits_for_cost_others_nothing() {
    let shops = Shops::patient().await;
    let list = |user: &str| {
        let (mut client, wanted) = (shops.known.recommender(), wanted(user));
        tokio::spawn(async move { client.recommend(wanted).await })
    };
    let turns = async |turns| {
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
    };
    for round in 0..10 {
        // Queries and their cancellations reach Qdrant in one go.
        shops.proxy.hold_one(Way::Requests);
        let before = shops.proxy.seen(Way::Requests);
        let other = list("other");
        let given_up: Vec<_> = (0..100).map(|_| list("u")).collect();
        let sent = async || shops.proxy.seen(Way::Requests) > before;
        until("queries are sent", sent).await;
        turns(100 * round).await;
        for call in given_up {
            call.abort();
            let _ = call.await;
        }
        turns(100).await;
        shops.proxy.heal().await;
        let list = other.await.unwrap().unwrap().into_inner();
        let degraded = list.diagnostics.unwrap().degraded;
        assert!(degraded.is_empty(), "{degraded:?}");
    }
}

#[tokio::test]
async fn a_write_cut_off_is_unavailable_and_a_retry_makes_it_whole() {
    let shops = Shops::patient().await;
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
        let mut catalog = shops.known.catalog();
        shops.proxy.cut_after(number * 10, Way::Replies, End::Reset);
        while let Err(status) = catalog.upsert_items(written(number)).await {
            catalogue_unavailable(&status);
            failed += 1;
        }
        shops.proxy.heal().await;
    }
    assert!(failed > 0, "the cuts were felt");
    let points = shops.qdrant.points_count(&shops.settings.collection_name);
    assert_eq!(points, 130, "each once");
}

#[tokio::test]
async fn a_qdrant_that_dies_between_two_calls_is_answered_for_from_memory() {
    let shops = Shops::patient().await;
    // This one knows what is near to i001, and not what is far from it.
    let half = (0..60).map(|index| format!("i{index:03}"));
    let request = proto::GetItemsRequest {
        content_ids: half.collect(),
    };
    shops.fresh.catalog().get_items(request).await.unwrap();
    // It proposes items, and is gone when their contents are asked for.
    shops.qdrant.fail_rpc("Get", Code::Unavailable, "gone");
    shops.qdrant.reset_calls();
    let list = shops.fresh.recommend(wanted("u")).await.unwrap();
    assert_eq!(
        ["QueryBatch", "Get"].map(|rpc| shops.qdrant.calls(rpc)),
        [1, 1]
    );
    assert_eq!(list.items.len(), 10);
    let remembered = |id: &&str| id[1..].parse::<usize>().unwrap() < 60;
    assert!(ids(&list).iter().all(remembered));
    assert_eq!(list.diagnostics.unwrap().degraded, ["catalogue"]);
    // One that knows all of them does not ask.
    let list = shops.known.recommend(wanted("u")).await.unwrap();
    assert!(list.diagnostics.unwrap().degraded.is_empty());

    shops.qdrant.heal();
    let list = shops.fresh.recommend(wanted("u")).await.unwrap();
    assert!(list.diagnostics.unwrap().degraded.is_empty());
}

#[tokio::test]
async fn a_collection_dropped_while_serving_is_told_and_found_again() {
    let shops = Shops::patient().await;
    let name = &shops.settings.collection_name;
    shops.qdrant.drop_collection(name);
    for server in [&shops.known, &shops.fresh] {
        let refused = server.recommend(wanted("u")).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
        assert!(refused.message().contains(name), "{refused}");
    }
    for round in 0..2 {
        let event = named(&format!("meanwhile {round}"), liked("u", "i050"));
        let taken = shops.fresh.ingest(event).await.unwrap();
        assert_eq!(taken.outcome(), IngestOutcome::Accepted);
    }
    fill(&shops.qdrant, &shops.settings).await;
    let found = async || shops.fresh.recommend(wanted("u")).await.is_ok();
    until("the collection is found again", found).await;
    shops.whole_again().await;
}
