//! The run: the servers, the loads, and the targets.

use std::{collections::HashMap, process::ExitCode, time::Duration};

use tempfile::TempDir;

use super::{
    BenchSettings,
    driver::{Driver, RpcCall, Shape},
    fill,
    floor::FloorRequest,
    processes::{BenchServer, Helper, cpu_seconds, resident_mb},
    report::{self, Bound, Row, Target, median},
    scale::redis_number,
    support::redis::RedisServer,
};

pub const SHAPE: Shape = Shape {
    connections: 8,
    in_flight: 4,
};
/// The fixed rate, as a share of the throughput in a closed loop.
const SHARE_AT_RATE: f64 = 0.5;
/// A load before each that is measured.
pub const WARM_UP: Duration = Duration::from_millis(500);
const STARTS: usize = 5;
/// Calls in flight whose memory is measured.
const WAITING_CALLS: usize = 400;

// Fields are dropped in this order: servers before their stores.
struct Servers {
    floor: Helper,
    /// Over Redis and Qdrant, with buffers of common length.
    common: BenchServer,
    /// The same, with buffers of full length.
    deep: BenchServer,
    /// Over Redis and items in memory.
    embedded: BenchServer,
    qdrant: Helper,
    redis: RedisServer,
    redis_pid: u32,
    directory: TempDir,
}

#[derive(Clone, Copy)]
enum ServerKind {
    Floor,
    Common,
    Deep,
    Embedded,
}

struct BenchLoad {
    name: &'static str,
    server: ServerKind,
    call: RpcCall,
}

fn loads() -> Vec<BenchLoad> {
    let load = |name, server, call| BenchLoad { name, server, call };
    let floor = |name, method| {
        let call = fill::call(method, fill::user(), |user_id| FloorRequest { user_id });
        load(name, ServerKind::Floor, call)
    };
    let ingest = |name, server, who| load(name, server, fill::ingest(who));
    let signals = |name, vectors| {
        let call = fill::signals(fill::user(), vectors);
        load(name, ServerKind::Common, call)
    };
    let recommend = |name, server| load(name, server, fill::recommend(fill::user()));
    vec![
        floor("floor echo", "/floor.Floor/Echo"),
        recommend("Recommend, embedded", ServerKind::Embedded),
        floor("floor get", "/floor.Floor/Get"),
        signals("GetUserSignals", false),
        signals("GetUserSignals, vectors", true),
        floor("floor write", "/floor.Floor/Write"),
        ingest("IngestEvent, 50", ServerKind::Common, fill::user()),
        ingest("IngestEvent, 5000", ServerKind::Deep, fill::deep_user()),
        floor("floor query", "/floor.Floor/Query"),
        recommend("Recommend, Qdrant", ServerKind::Common),
    ]
}

impl Servers {
    async fn start() -> Self {
        let directory = TempDir::new().expect("a directory");
        let catalogue = directory.path().join("catalogue.jsonl");
        fill::catalogue_file(&catalogue, fill::ITEMS);
        // Without its file: the disk is not measured.
        let redis = RedisServer::with(&["--appendonly", "no", "--maxmemory-policy", "noeviction"]);
        let redis_url = redis.url();
        let qdrant = Helper::start(&["qdrant"]);
        let floor = Helper::start(&["floor", &redis_url, &qdrant.address]);
        let log = |name: &str| directory.path().join(name);
        let over_qdrant = async |name: &str, events: usize| {
            let settings = [
                ("REDIS_URL", redis_url.as_str()),
                ("QDRANT_API_URL", &qdrant.address),
                ("COLLECTION_NAME", fill::COLLECTION),
                ("MAX_EVENTS_PER_USER", &events.to_string()),
            ];
            BenchServer::start(&settings, &log(name)).await
        };
        let common = over_qdrant("common.log", fill::EVENTS).await;
        let deep = over_qdrant("deep.log", fill::DEEP_EVENTS).await;
        let settings = [
            ("REDIS_URL", redis_url.as_str()),
            ("CATALOG_PATH", catalogue.to_str().expect("a path in UTF-8")),
        ];
        let embedded = BenchServer::start(&settings, &log("embedded.log")).await;
        Self {
            redis_pid: redis_number(&redis, "server", "process_id") as u32,
            floor,
            common,
            deep,
            embedded,
            qdrant,
            redis,
            directory,
        }
    }

    /// Fills all; returns the bytes of an item in a cache.
    async fn fill(&self) -> f64 {
        let common = channel(&self.common.address).await;
        let deep = channel(&self.deep.address).await;
        fill::catalogue(&common).await;
        fill::warm(&common).await;
        let before = resident_mb(self.deep.pid());
        fill::warm(&deep).await;
        let cached = resident_mb(self.deep.pid()) - before;
        fill::users(&common, fill::user(), fill::USERS, fill::EVENTS).await;
        fill::users(
            &deep,
            fill::deep_user(),
            fill::DEEP_USERS,
            fill::DEEP_EVENTS,
        )
        .await;
        cached * 1e6 / fill::ITEMS as f64
    }

    fn address(&self, server: ServerKind) -> &str {
        match server {
            ServerKind::Floor => &self.floor.address,
            ServerKind::Common => &self.common.address,
            ServerKind::Deep => &self.deep.address,
            ServerKind::Embedded => &self.embedded.address,
        }
    }

    fn pid(&self, server: ServerKind) -> u32 {
        match server {
            ServerKind::Floor => self.floor.pid(),
            ServerKind::Common => self.common.pid(),
            ServerKind::Deep => self.deep.pid(),
            ServerKind::Embedded => self.embedded.pid(),
        }
    }
}

pub async fn channel(address: &str) -> tonic::transport::Channel {
    super::support::server::connect(address.parse().expect("an address")).await
}

pub async fn all(settings: &BenchSettings) -> ExitCode {
    println!("starting redis-server, Qdrant's protocol, the floor and recsys, and filling them");
    let servers = Servers::start().await;
    let cached_item = servers.fill().await;
    let loads: Vec<BenchLoad> = loads()
        .into_iter()
        .filter(|load| load.name.contains(&settings.only))
        .collect();
    let mut rounds: Vec<HashMap<&str, Row>> = Vec::new();
    for round in 1..=settings.rounds {
        println!("round {round} of {}", settings.rounds);
        let mut rows = HashMap::new();
        for load in &loads {
            let row = closed_loop(&servers, load, settings.span()).await;
            println!(
                "  {:26} {:8.0}/s  p50 {:6} us  p99 {:6} us  server {:5.0} us  redis {:4.0} us  {} bytes",
                row.name,
                row.per_second,
                row.p50_us,
                row.p99_us,
                row.server_us,
                row.redis_us,
                row.reply_bytes
            );
            rows.insert(load.name, row);
        }
        rounds.push(rows);
    }
    let mut rows: Vec<Row> = loads
        .iter()
        .map(|load| median_round(&rounds, load.name))
        .collect();
    println!("at a fixed rate");
    for load in &loads {
        let rate = median_round(&rounds, load.name).per_second * SHARE_AT_RATE;
        rows.extend(at_rate(&servers, load, rate, settings.span()).await);
    }
    let mut targets = ratios(&rounds);
    targets.extend(starts(&servers).await);
    let informative = [
        ("an item in the cache, bytes", cached_item),
        ("a call in flight, bytes", in_flight(&servers).await),
    ];
    targets.extend(informative.map(|(what, value)| Target {
        what,
        value,
        bound: Bound::None,
    }));
    let page = report::page(&rows, &targets);
    println!("\n{}\n\n{page}", report::machine());
    let directory = settings.out.parent().expect("a directory for the report");
    std::fs::create_dir_all(directory).expect("a directory for the report");
    std::fs::write(&settings.out, report::json(&rows, &targets)).expect("a file for the report");
    println!("written to {}", settings.out.display());
    if targets.iter().all(Target::met) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn closed_loop(servers: &Servers, load: &BenchLoad, span: Duration) -> Row {
    let driver = Driver::connect(servers.address(load.server), SHAPE).await;
    if let Err(status) = driver.once(&load.call).await {
        panic!("{}: {status}", load.name);
    }
    driver.closed_loop(&load.call, WARM_UP).await;
    let before = cpu(servers, load.server);
    let measured = driver.closed_loop(&load.call, span).await;
    let after = cpu(servers, load.server);
    if let Some(status) = &measured.first_failure {
        panic!("{}: {} calls failed: {status}", load.name, measured.failed);
    }
    let mut row = Row::new(load.name, &measured, after.0 - before.0, after.1 - before.1);
    row.resident_mb = resident_mb(servers.pid(load.server));
    row
}

async fn at_rate(servers: &Servers, load: &BenchLoad, rate: f64, span: Duration) -> Option<Row> {
    let driver = Driver::connect(servers.address(load.server), SHAPE).await;
    let before = cpu(servers, load.server);
    let Some(measured) = driver.at_rate(&load.call, rate, span).await else {
        println!("  {} does not keep up with {rate:.0}/s", load.name);
        return None;
    };
    let after = cpu(servers, load.server);
    let mut row = Row::new(load.name, &measured, after.0 - before.0, after.1 - before.1);
    row.rate = Some(rate);
    row.resident_mb = resident_mb(servers.pid(load.server));
    Some(row)
}

/// Of the server, and of Redis.
fn cpu(servers: &Servers, server: ServerKind) -> (f64, f64) {
    (
        cpu_seconds(servers.pid(server)),
        cpu_seconds(servers.redis_pid),
    )
}

/// The round with the median throughput of a load.
fn median_round(rounds: &[HashMap<&str, Row>], name: &str) -> Row {
    let mut of_load: Vec<&Row> = rounds.iter().filter_map(|rows| rows.get(name)).collect();
    of_load.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    of_load[of_load.len() / 2].clone()
}

fn ratios(rounds: &[HashMap<&str, Row>]) -> Vec<Target> {
    let ratio = |of: &str, to: &str, value: fn(&Row) -> f64| -> Option<f64> {
        let ratios: Vec<f64> = rounds
            .iter()
            .filter_map(|rows| Some(value(rows.get(of)?) / value(rows.get(to)?)))
            .collect();
        (!ratios.is_empty()).then(|| median(ratios))
    };
    let speed: fn(&Row) -> f64 = |row| row.per_second;
    let cpu: fn(&Row) -> f64 = |row| row.server_us + row.redis_us;
    let latency: fn(&Row) -> f64 = |row| row.p50_us as f64;
    [
        (
            "GetUserSignals / floor get",
            "GetUserSignals",
            "floor get",
            speed,
            Bound::AtLeast(0.8),
        ),
        (
            "GetUserSignals, vectors / floor get",
            "GetUserSignals, vectors",
            "floor get",
            speed,
            Bound::AtLeast(0.6),
        ),
        (
            "IngestEvent, 50 / floor write",
            "IngestEvent, 50",
            "floor write",
            speed,
            Bound::AtLeast(0.8),
        ),
        (
            "IngestEvent, 5000 / 50: CPU",
            "IngestEvent, 5000",
            "IngestEvent, 50",
            cpu,
            Bound::AtMost(1.5),
        ),
        (
            "IngestEvent, 5000 / 50: p50",
            "IngestEvent, 5000",
            "IngestEvent, 50",
            latency,
            Bound::AtMost(1.5),
        ),
        (
            "Recommend, Qdrant / floor query",
            "Recommend, Qdrant",
            "floor query",
            speed,
            Bound::AtLeast(0.85),
        ),
        (
            "Recommend, embedded / floor echo",
            "Recommend, embedded",
            "floor echo",
            speed,
            Bound::AtLeast(0.04),
        ),
    ]
    .into_iter()
    .filter_map(|(what, of, to, value, bound)| {
        Some(Target {
            what,
            value: ratio(of, to, value)?,
            bound,
        })
    })
    .collect()
}

/// The bytes of a call that waits for Redis.
async fn in_flight(servers: &Servers) -> f64 {
    let pid = servers.common.pid();
    let driver = Driver::connect(&servers.common.address, SHAPE).await;
    let call = fill::signals(fill::user(), false);
    driver.closed_loop(&call, WARM_UP).await;
    let before = resident_mb(pid);
    servers.redis.freeze();
    let calls = driver.start(&call, WAITING_CALLS);
    tokio::time::sleep(WARM_UP / 2).await;
    let held = resident_mb(pid) - before;
    servers.redis.thaw();
    calls.await;
    held * 1e6 / WAITING_CALLS as f64
}

/// The time of a start, and the memory of an idle server.
async fn starts(servers: &Servers) -> Vec<Target> {
    let redis_url = servers.redis.url();
    let settings = [
        ("REDIS_URL", redis_url.as_str()),
        ("QDRANT_API_URL", &servers.qdrant.address),
        ("COLLECTION_NAME", fill::COLLECTION),
    ];
    let log = servers.directory.path().join("idle.log");
    let mut starts_ms = Vec::new();
    for _ in 0..STARTS {
        let started = BenchServer::start(&settings, &log).await;
        starts_ms.push(started.ready_after.as_secs_f64() * 1e3);
    }
    let idle = BenchServer::start(&settings, &log).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    vec![
        Target {
            what: "ready after a start, ms",
            value: median(starts_ms),
            bound: Bound::AtMost(100.0),
        },
        Target {
            what: "resident when idle, MB",
            value: resident_mb(idle.pid()),
            bound: Bound::AtMost(30.0),
        },
    ]
}
