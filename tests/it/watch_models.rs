//! Metrics of models, lists, caches and stores, and their documentation.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use recsys::{proto, telemetry::meters};

use crate::support::{
    program::recsys,
    qdrant::QdrantServer,
    redis::RedisServer,
    server::{liked, named},
    watched::Watched,
};

async fn list(watched: &Watched, request: proto::RecommendRequest) -> proto::RecommendResponse {
    let list = watched.client().recommend(request).await;
    list.unwrap().into_inner()
}

fn request(user: &str) -> proto::RecommendRequest {
    proto::RecommendRequest {
        user_id: user.to_owned(),
        ..Default::default()
    }
}

fn count(watched: &Watched, histogram: &str, labels: &[(&str, &str)]) -> f64 {
    watched.value(&format!("{histogram}_count"), labels)
}

#[tokio::test]
async fn model_rebuilds_and_refreshes_are_counted_by_cause() {
    let redis = RedisServer::start();
    let watched = Watched::start(&redis).await;
    let rebuilds = |reason| watched.value(meters::MODEL_REBUILDS, &[("reason", reason)]);
    let refreshes = |how| watched.value(meters::MODEL_REFRESHES, &[("how", how)]);

    for id in ["1", "2"] {
        watched.ingest(named(id, liked("u", "2001"))).await.unwrap();
    }
    assert_eq!((refreshes("own"), refreshes("shared")), (2.0, 0.0));
    assert_eq!(count(&watched, meters::MODEL_LAG, &[]), 2.0);
    assert_eq!(count(&watched, meters::MODEL_BYTES, &[]), 2.0);
    let stored = redis.cli(&["STRLEN", "umodel:u"]).trim().parse::<f64>();
    let bytes = watched.value(&format!("{}_sum", meters::MODEL_BYTES), &[]);
    assert!(bytes > stored.unwrap(), "{bytes}");

    watched.signals("u").await.unwrap();
    for reason in ["missing", "behind", "old", "unreadable"] {
        assert_eq!(rebuilds(reason), 0.0, "{reason}");
    }
    redis.cli(&["DEL", "umodel:u"]);
    watched.signals("u").await.unwrap();
    assert_eq!(rebuilds("missing"), 1.0);
    redis.cli(&["SET", "umodel:u", "rubbish"]);
    watched.signals("u").await.unwrap();
    assert_eq!(rebuilds("unreadable"), 1.0);
    // Another process has appended.
    redis.cli(&["PEXPIRE", "evt:u", "9999999999"]);
    watched.signals("u").await.unwrap();
    assert_eq!(rebuilds("behind"), 1.0);
    watched.signals("nobody").await.unwrap();
    let all = ["missing", "behind", "old", "unreadable"].map(rebuilds);
    assert_eq!(all, [1.0, 1.0, 0.0, 1.0]);
    // A model built by a read adds no lag.
    assert_eq!(count(&watched, meters::MODEL_LAG, &[]), 2.0);

    let watched = Watched::with(&redis, &[("MODEL_MAX_AGE", "1ms")]).await;
    tokio::time::sleep(Duration::from_millis(2)).await;
    watched.signals("u").await.unwrap();
    let old = watched.value(meters::MODEL_REBUILDS, &[("reason", "old")]);
    assert_eq!(old, 1.0);
}

#[tokio::test]
async fn each_append_counts_its_own_or_a_shared_refresh() {
    let redis = RedisServer::start();
    let watched = Watched::start(&redis).await;
    let refreshes = |how| watched.value(meters::MODEL_REFRESHES, &[("how", how)]);
    let mut sent = 0;
    while refreshes("shared") == 0.0 {
        assert!(sent < 10_000, "none is shared");
        let appends = (0..50).map(|number| {
            let event = named(&format!("{}", sent + number), liked("u", "2001"));
            let request = proto::IngestEventRequest { event: Some(event) };
            let mut client = watched.client();
            tokio::spawn(async move { client.ingest_event(request).await.map(|_| ()) })
        });
        let appends: Vec<_> = appends.collect();
        sent += appends.len();
        for append in appends {
            append.await.unwrap().unwrap();
        }
    }
    assert_eq!(refreshes("own") + refreshes("shared"), sent as f64);
    assert_eq!(count(&watched, meters::MODEL_LAG, &[]), sent as f64);
}

#[tokio::test]
async fn lists_are_counted_by_strategy_generator_and_outcome() {
    let mut redis = RedisServer::start();
    let watched = Watched::start(&redis).await;
    let lists = |strategy| watched.value(meters::LISTS, &[("strategy", strategy)]);
    let degraded = |cause| watched.value(meters::DEGRADED, &[("cause", cause)]);
    let proposed = |generator| {
        let labels = [("generator", generator)];
        let sum = watched.value(&format!("{}_sum", meters::CANDIDATES), &labels);
        (count(&watched, meters::CANDIDATES, &labels), sum)
    };

    let cold = list(&watched, request("nobody")).await;
    assert_eq!((lists("cold"), lists("warm")), (1.0, 0.0));
    let candidates = cold.diagnostics.unwrap().generators["sample"];
    assert_eq!(proposed("sample"), (1.0, f64::from(candidates)));
    assert_eq!(proposed("taste"), (0.0, 0.0));

    let liked_id = cold.items[0].content_id.clone();
    watched.ingest(liked("u", &liked_id)).await.unwrap();
    list(&watched, request("u")).await;
    assert_eq!((lists("cold"), lists("warm")), (1.0, 1.0));
    assert_eq!(proposed("taste").0, 1.0);
    assert_eq!(proposed("tags").0, 1.0);
    let nothing = proto::RecommendRequest {
        content_types: vec!["no such type".into()],
        ..request("u")
    };
    let empty = list(&watched, nothing).await;
    assert!(empty.items.is_empty());
    let reasons = |reason| watched.value(meters::EMPTY_LISTS, &[("reason", reason)]);
    assert_eq!(reasons("no_item_matches"), 1.0);
    assert_eq!(reasons("catalog_empty"), 0.0);
    // All items but a seen one are excluded.
    let item = &cold.items[0].content_id;
    let only_seen = proto::RecommendRequest {
        exclude_ids: cold.items[1..]
            .iter()
            .map(|item| item.content_id.clone())
            .collect(),
        ..request("u")
    };
    assert!(
        list(&watched, only_seen)
            .await
            .items
            .iter()
            .all(|other| other.content_id != *item)
    );
    let outcomes = ["placed", "none_left", "not_drawn", "off"];
    let explored =
        outcomes.map(|outcome| watched.value(meters::EXPLORATION, &[("outcome", outcome)]));
    assert_eq!(explored.iter().sum::<f64>(), 4.0, "{explored:?}");
    assert_eq!(degraded("user_model"), 0.0);

    redis.kill();
    list(&watched, request("u")).await;
    assert_eq!((degraded("user_model"), lists("cold")), (1.0, 2.0));
    assert_eq!(degraded("catalogue"), 0.0);
}

#[tokio::test]
async fn the_pool_and_the_caches_are_measured_on_scrape() {
    let redis = RedisServer::start();
    let qdrant = QdrantServer::start().await;
    let url = qdrant.url();
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/assets/sample-catalogue.jsonl");
    let imported = recsys(&["catalog", "import", sample])
        .env("QDRANT_API_URL", &url)
        .output()
        .unwrap();
    assert!(imported.status.success(), "{imported:?}");
    // A mirrored catalogue has no cache.
    let settings = [("QDRANT_API_URL", url.as_str()), ("CATALOG_MIRROR", "off")];
    let watched = Watched::with(&redis, &settings).await;
    let lookups = |cache, outcome| {
        watched.value(
            meters::CACHE_LOOKUPS,
            &[("cache", cache), ("outcome", outcome)],
        )
    };
    let size_of = |cache| {
        let labels = [("cache", cache)];
        let entries = watched.value(meters::CACHE_ENTRIES, &labels);
        (entries, watched.value(meters::CACHE_BYTES, &labels))
    };
    assert_eq!(
        (size_of("items"), size_of("buffers")),
        ((0.0, 0.0), (0.0, 0.0))
    );

    list(&watched, request("nobody")).await;
    let misses = lookups("items", "miss");
    assert!(misses > 0.0);
    let (entries, bytes) = size_of("items");
    assert_eq!(entries, misses);
    assert!(bytes > 100.0 * entries, "{bytes}");
    list(&watched, request("nobody")).await;
    assert!(lookups("items", "hit") > 0.0);

    for id in ["1", "2"] {
        watched.ingest(named(id, liked("u", "2001"))).await.unwrap();
    }
    assert_eq!(
        (lookups("buffers", "hit"), lookups("buffers", "miss")),
        (1.0, 0.0)
    );
    // Another process has appended.
    redis.cli(&["PEXPIRE", "evt:u", "9999999999"]);
    watched
        .ingest(named("3", liked("u", "2001")))
        .await
        .unwrap();
    assert_eq!(
        (lookups("buffers", "hit"), lookups("buffers", "miss")),
        (1.0, 1.0)
    );
    let (entries, bytes) = size_of("buffers");
    assert_eq!(entries, 1.0);
    assert!(bytes > 100.0, "{bytes}");

    let redis = ("db_system_name", "redis");
    let connections = |state| watched.value(meters::DB_CONNECTIONS, &[redis, ("state", state)]);
    assert!(connections("idle") + connections("used") >= 1.0);
    assert_eq!(watched.value(meters::DB_MAX_CONNECTIONS, &[redis]), 4.0);
    assert_eq!(watched.value(meters::DB_PENDING_REQUESTS, &[redis]), 0.0);
}

#[tokio::test]
async fn embedded_stores_report_how_full_they_are() {
    let watched = Watched::set(&[("EMBEDDED_STATE_MAX_BYTES", "1000000")]).await;
    let used = |store| watched.value(meters::EMBEDDED_BYTES, &[("store", store)]);
    let limit = |store| watched.value(meters::EMBEDDED_MAX_BYTES, &[("store", store)]);
    assert_eq!(limit("user_state"), 1_000_000.0);
    assert_eq!(limit("catalogue"), f64::from(1 << 30));
    assert!(used("catalogue") > 10_000.0);
    assert_eq!(used("user_state"), 0.0);
    watched.ingest(liked("u", "2001")).await.unwrap();
    assert!(used("user_state") > 0.0);
    assert!(watched.value("process_resident_memory_bytes", &[]) > 1_000_000.0);
    assert!(watched.value("process_start_time_seconds", &[]) > 1e9);
}

/// The metrics of the reference page, by name, each with its table row.
fn documented() -> BTreeMap<String, String> {
    let page = include_str!("../../docs/reference/metrics.md");
    let (_, table) = page.split_once("| metric | labels |").unwrap();
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    rows.flat_map(|row| {
        let names = row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2);
        names
            .map(|name| (name.to_owned(), row.to_owned()))
            .collect::<Vec<_>>()
    })
    .collect()
}

/// The labels and values of a line in Prometheus' text format.
fn labels(line: &str) -> Vec<(String, String)> {
    let Some((_, rest)) = line.split_once('{') else {
        return Vec::new();
    };
    let (inside, _) = rest.rsplit_once('}').unwrap();
    inside
        .split("\",")
        .map(|pair| {
            let (name, value) = pair.split_once("=\"").unwrap();
            (name.to_owned(), value.trim_end_matches('"').to_owned())
        })
        .collect()
}

#[tokio::test]
async fn served_metrics_labels_and_values_match_the_reference_page() {
    let redis = RedisServer::start();
    let watched = Watched::start(&redis).await;
    watched.ingest(liked("u", "2001")).await.unwrap();
    watched.ingest(liked("", "2001")).await.unwrap_err();
    list(&watched, request("u")).await;
    let (_, body) = watched.get("/metrics");
    let documented = documented();

    let types = body.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let served: BTreeSet<&str> = types.map(|line| line.split(' ').next().unwrap()).collect();
    // Only placements and variants of the ranking file have series.
    let placements = [meters::PLACEMENT_ITEMS, meters::PLACEMENT_EVENTS];
    let known = documented.keys().map(String::as_str);
    let known: BTreeSet<&str> = known.filter(|name| !placements.contains(name)).collect();
    assert_eq!(served, known);

    // Labels of the format, and labels whose values are documented elsewhere: methods and
    // codes of the contract, operations.
    let open = [
        "le",
        "version",
        "rpc_method",
        "rpc_response_status_code",
        "http_response_status_code",
        "rpc_system_name",
        "db_operation_name",
    ];
    for line in body
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        let name = line.split(['{', ' ']).next().unwrap();
        let row = documented.get(name).or_else(|| {
            let parts = ["_bucket", "_sum", "_count"];
            let whole = parts.iter().find_map(|part| name.strip_suffix(part));
            documented.get(whole.unwrap_or_default())
        });
        let row = row.unwrap_or_else(|| panic!("{line}"));
        for (label, value) in labels(line) {
            if open.contains(&label.as_str()) || value.is_empty() {
                continue;
            }
            assert!(row.contains(&format!("`{label}`")), "{label} in {line}");
            assert!(row.contains(&format!("`{value}`")), "{value} in {line}");
        }
    }
}
