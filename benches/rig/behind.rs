//! The processor time that an event costs behind its acknowledgement: its share of the
//! builds and saves of its user's model.

use std::time::Duration;

use tempfile::TempDir;

use super::{
    BenchSettings,
    driver::Driver,
    fill::{self, EVENTS, ITEMS},
    processes::{BenchServer, cpu_seconds, until_idle},
    runs::{SHAPE, channel},
    scale::redis_number,
    support::redis::RedisServer,
};

/// Users, and the time between two events of each.
const PACES: [(usize, Duration); 2] = [
    (100, Duration::from_millis(200)),
    (1_000, Duration::from_secs(10)),
];
/// Longer than a load: no model is saved, or no row of neighbors is refreshed.
const NEVER: &str = "1h";

/// Microseconds of processor time for an event: of the server, and of Redis.
type Cost = (f64, f64);

pub async fn all(settings: &BenchSettings) {
    let directory = TempDir::new().expect("a directory");
    let catalogue = directory.path().join("catalogue.jsonl");
    let log = directory.path().join("recsys.log");
    fill::catalogue_file(&catalogue, ITEMS);
    println!(
        "{EVENTS} events a user, {ITEMS} items in memory\n\n\
         | users | an event of each every | acknowledged: recsys CPU µs | Redis CPU µs | behind: recsys CPU µs | Redis CPU µs |\n\
         | ---: | ---: | ---: | ---: | ---: | ---: |"
    );
    for (users, every) in PACES {
        let span = settings.span().max(every * 2);
        let cost = async |save_interval: Option<&str>| -> Cost {
            let redis =
                RedisServer::with(&["--appendonly", "no", "--maxmemory-policy", "noeviction"]);
            let redis_url = redis.url();
            let events = EVENTS.to_string();
            let mut server = vec![
                ("REDIS_URL", redis_url.as_str()),
                ("CATALOG_PATH", catalogue.to_str().expect("a path in UTF-8")),
                ("MAX_EVENTS_PER_USER", &events),
                ("ASSOCIATIONS_INTERVAL", NEVER),
            ];
            server.extend(save_interval.map(|interval| ("MODEL_SAVE_INTERVAL", interval)));
            let server = BenchServer::start(&server, &log).await;
            let user_of = || fill::in_turn("b", users);
            fill::users(&channel(&server.address).await, user_of(), users, EVENTS).await;
            let redis_pid = redis_number(&redis, "server", "process_id") as u32;
            let pids = [server.pid(), redis_pid];
            until_idle(&pids).await;
            let driver = Driver::connect(&server.address, SHAPE).await;
            let before = pids.map(cpu_seconds);
            let rate = users as f64 / every.as_secs_f64();
            let load = driver.at_rate(&fill::ingest(user_of()), rate, span).await;
            let load = load.expect("a rate that is kept");
            until_idle(&pids).await;
            let after = pids.map(cpu_seconds);
            let each = |place: usize| (after[place] - before[place]) * 1e6 / load.calls() as f64;
            (each(0), each(1))
        };
        let acknowledged = cost(Some(NEVER)).await;
        let all = cost(None).await;
        println!(
            "| {users} | {} ms | {:.0} | {:.0} | {:.0} | {:.0} |",
            every.as_millis(),
            acknowledged.0,
            acknowledged.1,
            all.0 - acknowledged.0,
            all.1 - acknowledged.1,
        );
    }
}
