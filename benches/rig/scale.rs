//! How cost grows with users and items: the figures of `docs/operate/sizing.md`.

use std::time::Duration;

use tempfile::TempDir;

use super::{
    BenchSettings,
    driver::{Driver, Measured, RpcCall},
    fill::{self, EVENTS},
    processes::{BenchServer, cpu_seconds, resident_mb},
    qdrant::BenchQdrant,
    recall,
    runs::{SHAPE, WARM_UP, channel},
    support::redis::RedisServer,
};

/// Numbers of users, and of items in memory.
const USERS: [usize; 3] = [1_000, 10_000, 100_000];
const ITEMS: [usize; 2] = [10_000, 100_000];

pub async fn all(settings: &BenchSettings) {
    let directory = TempDir::new().expect("a directory");
    let log = directory.path().join("recsys.log");
    let small = directory.path().join("small.jsonl");
    fill::catalogue_file(&small, ITEMS[0]);
    println!(
        "{} events a user, {} items in memory, users by chance\n\n\
         | users | filled, events/s | Redis bytes/user | recsys MB | call | calls/s | p50 ms | p99 ms | recsys CPU µs | Redis CPU µs |\n\
         | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |",
        EVENTS, ITEMS[0]
    );
    for users in USERS {
        let redis = RedisServer::with(&["--appendonly", "no", "--maxmemory-policy", "noeviction"]);
        let server = start(&redis, &small, &log).await;
        let empty = redis_bytes(&redis);
        let started = std::time::Instant::now();
        let user_of = fill::in_turn("s", users);
        fill::users(&channel(&server.address).await, user_of, users, EVENTS).await;
        let filled = (users * EVENTS) as f64 / started.elapsed().as_secs_f64();
        let per_user = (redis_bytes(&redis) - empty) / users as f64;
        let user_of = || fill::by_chance("s", users);
        for (name, call) in [
            ("GetUserSignals", fill::signals(user_of(), false)),
            ("Recommend", fill::recommend(user_of())),
            ("IngestEvent", fill::ingest(user_of())),
        ] {
            let figures = load(&server, &redis, &call, settings.span()).await;
            let resident = resident_mb(server.pid());
            println!(
                "| {users} | {filled:.0} | {per_user:.0} | {resident:.0} | {name} | {figures} |"
            );
        }
    }
    println!(
        "\n| items in memory | ready after ms | recsys MB | call | calls/s | p50 ms | p99 ms | recsys CPU µs | Redis CPU µs |\n\
         | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |"
    );
    for items in ITEMS {
        let catalogue = directory.path().join("catalogue.jsonl");
        fill::catalogue_file(&catalogue, items);
        let redis = RedisServer::with(&["--appendonly", "no"]);
        let server = start(&redis, &catalogue, &log).await;
        let users = fill::USERS;
        fill::users(&channel(&server.address).await, fill::user(), users, EVENTS).await;
        let call = fill::recommend(fill::user());
        let figures = load(&server, &redis, &call, settings.span()).await;
        let ready = server.ready_after.as_millis();
        let resident = resident_mb(server.pid());
        println!("| {items} | {ready} | {resident:.0} | Recommend | {figures} |");
    }
}

/// Items in a real Qdrant, which is asked for each list: nothing is mirrored.
pub async fn in_qdrant(settings: &BenchSettings, url: &str) {
    let directory = TempDir::new().expect("a directory");
    let catalogue = directory.path().join("catalogue.jsonl");
    let log = directory.path().join("recsys.log");
    println!(
        "\n| items in Qdrant | imported s | indexed s | Recommend/s | p50 ms | p99 ms | \
         p50 ms at half | p99 ms at half | recsys CPU µs | nearest 30: recall, ms | \
         30 by tags: weight, ms |\n\
         | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    );
    for items in &settings.items {
        let (qdrant, import) = if settings.reuse {
            (BenchQdrant::reuse(url).await, "– | –".to_owned())
        } else {
            let qdrant = BenchQdrant::start(Some(url)).await;
            fill::catalogue_file(&catalogue, *items);
            let (imported, indexed) = qdrant.import(fill::COLLECTION, &catalogue).await;
            std::fs::remove_file(&catalogue).expect("the catalogue");
            (qdrant, format!("{imported:.1} | {indexed:.1}"))
        };
        let redis = RedisServer::with(&["--appendonly", "no"]);
        let redis_url = redis.url();
        let server = [
            ("REDIS_URL", redis_url.as_str()),
            ("QDRANT_API_URL", url),
            ("COLLECTION_NAME", fill::COLLECTION),
            ("CATALOG_MIRROR", "off"),
        ];
        let server = BenchServer::start(&server, &log).await;
        let users = fill::USERS;
        fill::users(&channel(&server.address).await, fill::user(), users, EVENTS).await;
        let call = fill::recommend(fill::user());
        let driver = Driver::connect(&server.address, SHAPE).await;
        driver.closed_loop(&call, WARM_UP).await;
        let before = cpu_seconds(server.pid());
        let closed = driver.closed_loop(&call, settings.span()).await;
        let cpu_us = (cpu_seconds(server.pid()) - before) * 1e6 / closed.calls().max(1) as f64;
        if let Some(status) = &closed.first_failure {
            panic!("{} calls failed: {status}", closed.failed);
        }
        let half = driver
            .at_rate(&call, closed.per_second() / 2.0, settings.span())
            .await
            .expect("half the rate");
        let ms = |measured: &Measured, share| measured.quantile(share) as f64 / 1e3;
        let recall = recall::measure(url, fill::COLLECTION, *items).await;
        println!(
            "| {items} | {import} | {:.0} | {:.1} | {:.1} | {:.1} | {:.1} | \
             {cpu_us:.0} | {:.3}, {:.1} | {:.3}, {:.1} |",
            closed.per_second(),
            ms(&closed, 0.5),
            ms(&closed, 0.99),
            ms(&half, 0.5),
            ms(&half, 0.99),
            recall.nearest,
            recall.nearest_ms,
            recall.tags,
            recall.tags_ms,
        );
        qdrant.delete_collections().await;
    }
}

async fn start(
    redis: &RedisServer,
    catalogue: &std::path::Path,
    log: &std::path::Path,
) -> BenchServer {
    let settings = [
        ("REDIS_URL", redis.url()),
        ("CATALOG_PATH", catalogue.display().to_string()),
    ];
    let settings = settings
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    BenchServer::start(&settings, log).await
}

async fn load(server: &BenchServer, redis: &RedisServer, call: &RpcCall, span: Duration) -> String {
    let driver = Driver::connect(&server.address, SHAPE).await;
    driver.closed_loop(call, WARM_UP).await;
    let redis_pid = redis_number(redis, "server", "process_id") as u32;
    let cpu = || (cpu_seconds(server.pid()), cpu_seconds(redis_pid));
    let before = cpu();
    let measured = driver.closed_loop(call, span).await;
    let after = cpu();
    if let Some(status) = &measured.first_failure {
        panic!("{} calls failed: {status}", measured.failed);
    }
    let calls = measured.calls().max(1) as f64;
    format!(
        "{:.0} | {:.2} | {:.2} | {:.0} | {:.0}",
        measured.per_second(),
        measured.quantile(0.5) as f64 / 1e3,
        measured.quantile(0.99) as f64 / 1e3,
        (after.0 - before.0) * 1e6 / calls,
        (after.1 - before.1) * 1e6 / calls,
    )
}

fn redis_bytes(redis: &RedisServer) -> f64 {
    redis_number(redis, "memory", "used_memory")
}

/// A number of Redis's INFO.
pub fn redis_number(redis: &RedisServer, section: &str, name: &str) -> f64 {
    let info = redis.cli(&["INFO", section]);
    let of_name = |line: &str| {
        line.strip_prefix(name)?
            .strip_prefix(':')?
            .trim()
            .parse()
            .ok()
    };
    info.lines().find_map(of_name).expect("a number")
}
