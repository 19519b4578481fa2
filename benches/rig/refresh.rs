//! How rows of neighbors keep up with events about items by Zipf's law with exponent 1.

use std::time::Duration;

use tempfile::TempDir;

use super::{
    BenchSettings,
    driver::Driver,
    fill::{self, EVENTS, ITEMS},
    processes::{BenchServer, cpu_seconds},
    runs::{SHAPE, channel},
    support::{
        program::get,
        redis::{RedisServer, free_port},
    },
};

/// Events a second.
const RATES: [f64; 2] = [100.0, 1_000.0];
const USERS: usize = 1_000;
const REFRESHES: &str = "recsys_association_refreshes_total";
const LAG_BUCKET: &str = "recsys_association_lag_seconds_bucket";
const DUE: &str = "recsys_association_rows_due";

pub async fn all(settings: &BenchSettings) {
    let directory = TempDir::new().expect("a directory");
    let catalogue = directory.path().join("catalogue.jsonl");
    let log = directory.path().join("recsys.log");
    fill::catalogue_file(&catalogue, ITEMS);
    println!(
        "{ITEMS} items, {USERS} users with {EVENTS} events each; default settings\n\n\
         | events a second | rows refreshed a second | rows due at the end | lag p50, s | p99, s | recsys, share of a core |\n\
         | ---: | ---: | ---: | ---: | ---: | ---: |"
    );
    for rate in RATES {
        let redis = RedisServer::with(&["--appendonly", "no", "--maxmemory-policy", "noeviction"]);
        let redis_url = redis.url();
        let admin = format!("127.0.0.1:{}", free_port());
        let server = [
            ("REDIS_URL", redis_url.as_str()),
            ("CATALOG_PATH", catalogue.to_str().expect("a path in UTF-8")),
            ("RECSYS_ADMIN_ADDR", admin.as_str()),
        ];
        let server = BenchServer::start(&server, &log).await;
        let metrics = || get(&admin, "/metrics");
        let users = || fill::by_chance("z", USERS);
        let filled = fill::in_turn("z", USERS);
        fill::users(&channel(&server.address).await, filled, USERS, EVENTS).await;
        let driver = Driver::connect(&server.address, SHAPE).await;
        let load = fill::ingest_by_zipf(users());
        // The rows of the history are due at once: they are worked off first.
        while value(&metrics(), DUE) > 0.0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let (before, cpu) = (metrics(), cpu_seconds(server.pid()));
        let measured = driver.at_rate(&load, rate, settings.span()).await;
        let measured = measured.expect("a rate that is kept");
        let (after, cpu) = (metrics(), cpu_seconds(server.pid()) - cpu);
        assert_eq!(measured.failed, 0, "{:?}", measured.first_failure);
        let each_second = |name| (value(&after, name) - value(&before, name)) / measured.seconds;
        let lag = |share| quantile(&before, &after, share);
        println!(
            "| {rate:.0} | {:.1} | {:.0} | {} | {} | {:.2} |",
            each_second(REFRESHES),
            value(&after, DUE),
            lag(0.5),
            lag(0.99),
            cpu / measured.seconds,
        );
    }
}

/// The sum of the samples of a metric.
fn value(metrics: &str, name: &str) -> f64 {
    let samples = metrics.lines().filter_map(|line| line.strip_prefix(name));
    let samples = samples.filter(|rest| rest.starts_with(['{', ' ']));
    samples
        .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// Between which bounds of buckets the lag of this share of the refreshes is.
fn quantile(before: &str, after: &str, share: f64) -> String {
    let buckets = |metrics: &str| -> Vec<(String, f64)> {
        let lines = metrics
            .lines()
            .filter_map(|line| line.strip_prefix(LAG_BUCKET));
        lines
            .filter_map(|line| {
                let (_, bound) = line.split_once("le=\"")?;
                let (bound, rest) = bound.split_once('"')?;
                let count = rest.rsplit(' ').next()?.parse().ok()?;
                Some((bound.to_owned(), count))
            })
            .collect()
    };
    let before = buckets(before);
    let count = |bound: &str, after: f64| {
        let before = before.iter().find(|(other, _)| other == bound);
        after - before.map_or(0.0, |(_, count)| *count)
    };
    let counts: Vec<(String, f64)> = buckets(after)
        .into_iter()
        .map(|(bound, after)| (bound.clone(), count(&bound, after)))
        .collect();
    let wanted = share * counts.last().map_or(0.0, |(_, all)| *all);
    let at = counts.iter().position(|(_, count)| *count >= wanted);
    match at {
        None => "none".to_owned(),
        Some(0) => format!("to {}", counts[0].0),
        Some(at) => format!("{} to {}", counts[at - 1].0, counts[at].0),
    }
}
