//! The budget of memory in full: the program under a hard limit of memory, with an attacker
//! of each kind in turn, while the calls of another tenant go on.

use std::{
    io::BufRead as _,
    net::SocketAddr,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use recsys::proto::{
    BatchIngestEventsRequest, RecommendRequest,
    recommender_service_client::RecommenderServiceClient,
};

use super::{
    SoakSettings,
    checks::SoakCheck,
    support::{
        attacks::{ATTACKS, Attacker},
        program::Served,
        redis::RedisServer,
        server::{connect, liked, named},
        tenants::{Tenants, with_headers},
    },
};

/// The hard limit of the program's memory, in KiB.
const LIMIT_KIB: usize = 512 << 10;
/// As in the chart: a quarter of the limit.
const BUDGET_BYTES: usize = 128 << 20;
const CACHE_BYTES: usize = 32 << 20;
/// How long the healthy tenant calls alone, and how long each attack is repeated.
const QUIET: Duration = Duration::from_secs(30);
const ATTACK: Duration = Duration::from_secs(30);
/// The p99 of the healthy tenant may grow by this factor.
const MAX_SLOWDOWN: f64 = 5.0;
/// No command of Redis may take longer, in microseconds.
const SLOW_COMMAND_MICROS: &str = "5000";

/// The calls of the healthy tenant.
#[derive(Default)]
struct HealthyCalls {
    latencies: Mutex<Vec<Duration>>,
    failures: Mutex<Vec<String>>,
    stop: AtomicBool,
}

impl HealthyCalls {
    /// The p99 of the calls since the last time, in milliseconds.
    fn take_p99(&self) -> f64 {
        let mut latencies = std::mem::take(&mut *self.latencies.lock().unwrap());
        latencies.sort_unstable();
        let at = (latencies.len() * 99 / 100).min(latencies.len().saturating_sub(1));
        latencies.get(at).map_or(0.0, |p99| p99.as_secs_f64() * 1e3)
    }
}

async fn call(made: Arc<HealthyCalls>, address: SocketAddr, key: String) {
    let mut client = RecommenderServiceClient::new(connect(address).await);
    let mut number = 0_u64;
    while !made.stop.load(Ordering::SeqCst) {
        number += 1;
        let user = format!("user{}", number % 100);
        let events = (0..10).map(|index| named(&format!("{number}-{index}"), liked(&user, "2001")));
        let events = events.collect();
        let request = with_headers(&[("x-api-key", &key)], BatchIngestEventsRequest { events });
        let begin = Instant::now();
        let ingested = client.batch_ingest_events(request).await.map(|_| ());
        let list = RecommendRequest {
            user_id: user,
            ..RecommendRequest::default()
        };
        let listed = client
            .recommend(with_headers(&[("x-api-key", &key)], list))
            .await
            .map(|_| ());
        made.latencies.lock().unwrap().push(begin.elapsed() / 2);
        for status in [ingested, listed].into_iter().filter_map(Result::err) {
            made.failures.lock().unwrap().push(status.to_string());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether all checks passed.
pub async fn run(settings: &SoakSettings) -> bool {
    let redis = RedisServer::start();
    redis.cli(&[
        "CONFIG",
        "SET",
        "slowlog-log-slower-than",
        SLOW_COMMAND_MICROS,
    ]);
    let mut tenants = Tenants::new(&["shop", "other"]);
    let healthy = tenants.key("shop", &["ingest", "serve"]);
    let key = tenants.key("other", &["ingest", "serve", "catalog"]);
    tenants.write();
    // The limit of data, not of addresses: the allocator reserves far more of those.
    let limited = format!("ulimit -d {LIMIT_KIB} && exec \"$0\" serve \"$@\"");
    let mut command = Command::new("bash");
    command
        .args(["-c", &limited])
        .arg(&settings.binary)
        .env("MIMALLOC_ARENA_EAGER_COMMIT", "0")
        .env("RECSYS_LOG_FORMAT", "text")
        .env("RECSYS_TENANTS_PATH", tenants.path())
        .env("RECSYS_MAX_BUFFERED_BYTES", BUDGET_BYTES.to_string())
        .env("BUFFER_CACHE_MAX_BYTES", CACHE_BYTES.to_string())
        .env("MODEL_CACHE_MAX_BYTES", CACHE_BYTES.to_string())
        .env("EMBEDDED_CATALOG_MAX_BYTES", (2 * CACHE_BYTES).to_string())
        .env("RECSYS_MAX_CONNECTIONS", "256")
        .env("RECSYS_WEBHOOK_ADDR", "127.0.0.1:0")
        .env("REDIS_URL", redis.url())
        .stdin(Stdio::null());
    let mut served = Served::start(&mut command);
    let (_, rest) = served
        .seen
        .split_once("taking deliveries address=")
        .unwrap();
    let webhook = rest.split_whitespace().next().unwrap().parse().unwrap();
    let attacker = Attacker {
        address: served.address.parse().unwrap(),
        webhook,
        key,
    };
    let pid = served.child.id().to_string();
    // Reads the log to its end, which is the end of the process.
    let log = std::thread::spawn(move || {
        let mut line = String::new();
        while served.log.read_line(&mut line).is_ok_and(|read| read > 0) {
            line.clear();
        }
    });

    let made = Arc::new(HealthyCalls::default());
    let calls: Vec<_> = (0..4)
        .map(|_| tokio::spawn(call(made.clone(), attacker.address, healthy.clone())))
        .collect();
    tokio::time::sleep(QUIET).await;
    let quiet = made.take_p99();
    println!("quiet: p99 {quiet:.1} ms");
    let mut slow = SoakCheck::new("the healthy tenant is not slowed down much");
    let mut alive = SoakCheck::new("the process lives under its limit of memory");
    for attack in ATTACKS {
        let begin = Instant::now();
        while begin.elapsed() < ATTACK {
            attacker.attack(attack, || {}).await;
        }
        let p99 = made.take_p99();
        println!("{attack}: p99 {p99:.1} ms");
        if p99 > MAX_SLOWDOWN * quiet {
            slow.problem(format!("{attack}: p99 {p99:.1} ms, quiet {quiet:.1} ms"));
        }
        if log.is_finished() {
            alive.problem(format!("{attack}: the process ended"));
            break;
        }
    }
    made.stop.store(true, Ordering::SeqCst);
    for call in calls {
        let _ = call.await;
    }
    let mut failed = SoakCheck::new("no call of the healthy tenant fails");
    for failure in made.failures.lock().unwrap().iter().take(10) {
        failed.problem(failure.clone());
    }
    let mut commands = SoakCheck::new("no command of redis takes longer than 5 ms");
    let entries = redis.cli(&["SLOWLOG", "LEN"]);
    if entries.trim() != "0" {
        commands.problem(redis.cli(&["SLOWLOG", "GET", "5"]));
    }
    let checks = [alive, failed, slow, commands];
    for check in &checks {
        let result = if check.passed() { "PASS" } else { "FAIL" };
        println!("{result}: {}", check.name);
        for problem in &check.reported {
            println!("  {problem}");
        }
    }
    let _ = Command::new("kill").args(["-TERM", &pid]).status();
    let _ = log.join();
    checks.iter().all(SoakCheck::passed)
}
