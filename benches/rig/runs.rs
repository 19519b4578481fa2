//! The run: the servers, the loads, and the targets.

use std::{collections::HashMap, process::ExitCode, time::Duration};

use tempfile::TempDir;

use super::{
    BenchSettings,
    driver::{Driver, Measured, Shape},
    fill,
    loads::{self, BenchLoad, LoadKind, ServerKind},
    processes::{BenchServer, Helper, cpu_seconds, resident_mb, until_idle},
    qdrant::BenchQdrant,
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
    /// Over Redis and Qdrant, with buffers of common length. It asks Qdrant for each list.
    common: BenchServer,
    /// The same, with buffers of full length.
    deep: BenchServer,
    /// Over Redis and items in memory.
    embedded: BenchServer,
    /// The same, with many items; started where a load uses it.
    large: Option<BenchServer>,
    /// Over Redis and a real Qdrant: with a mirror, and with many items.
    over_qdrant: HashMap<ServerKind, BenchServer>,
    qdrant: BenchQdrant,
    redis: RedisServer,
    redis_pid: u32,
    directory: TempDir,
}

impl Servers {
    async fn start(loads: &[BenchLoad], qdrant_url: Option<&str>) -> Self {
        let directory = TempDir::new().expect("a directory");
        let catalogue = directory.path().join("catalogue.jsonl");
        fill::catalogue_file(&catalogue, fill::ITEMS);
        // Without its file: the disk is not measured.
        let redis = RedisServer::with(&["--appendonly", "no", "--maxmemory-policy", "noeviction"]);
        let redis_url = redis.url();
        let qdrant = BenchQdrant::start(qdrant_url).await;
        let (imported, indexed) = qdrant.import(fill::COLLECTION, &catalogue).await;
        println!(
            "  {} items: imported in {imported:.1} s, indexed after {indexed:.1} s",
            fill::ITEMS
        );
        let floor = Helper::start(&["floor", &redis_url, qdrant.url()]);
        let log = |name: &str| directory.path().join(name);
        let serve = async |name: &str, collection: &str, mirror: &str, events: usize| {
            let settings = [
                ("REDIS_URL", redis_url.as_str()),
                ("QDRANT_API_URL", qdrant.url()),
                ("COLLECTION_NAME", collection),
                ("CATALOG_MIRROR", mirror),
                ("MAX_EVENTS_PER_USER", &events.to_string()),
            ];
            BenchServer::start(&settings, &log(name)).await
        };
        let common = serve("common.log", fill::COLLECTION, "off", fill::EVENTS).await;
        let deep = serve("deep.log", fill::COLLECTION, "off", fill::DEEP_EVENTS).await;
        let settings = [
            ("REDIS_URL", redis_url.as_str()),
            ("CATALOG_PATH", catalogue.to_str().expect("a path in UTF-8")),
        ];
        let embedded = BenchServer::start(&settings, &log("embedded.log")).await;
        let uses = |kind| loads.iter().any(|load| load.server == kind);
        let large_catalogue = directory.path().join("large.jsonl");
        if loads.iter().any(|load| load.server.has_many_items()) {
            fill::catalogue_file(&large_catalogue, fill::LARGE_ITEMS);
        }
        let mut over_qdrant = HashMap::new();
        if uses(ServerKind::Mirrored) {
            let server = serve("mirrored.log", fill::COLLECTION, "on", fill::EVENTS).await;
            over_qdrant.insert(ServerKind::Mirrored, server);
        }
        for (kind, name, mirror) in [
            (ServerKind::LargeQdrant, "large-qdrant.log", "off"),
            (ServerKind::LargeMirrored, "large-mirrored.log", "on"),
        ] {
            if uses(kind) {
                if over_qdrant.keys().all(|kind| !kind.has_many_items()) {
                    let collection = fill::LARGE_COLLECTION;
                    let (imported, indexed) = qdrant.import(collection, &large_catalogue).await;
                    println!(
                        "  {} items: imported in {imported:.1} s, indexed after {indexed:.1} s",
                        fill::LARGE_ITEMS
                    );
                }
                let server = serve(name, fill::LARGE_COLLECTION, mirror, fill::EVENTS).await;
                over_qdrant.insert(kind, server);
            }
        }
        let large = if uses(ServerKind::Large) {
            let settings = [
                ("REDIS_URL", redis_url.as_str()),
                (
                    "CATALOG_PATH",
                    large_catalogue.to_str().expect("a path in UTF-8"),
                ),
            ];
            Some(BenchServer::start(&settings, &log("large.log")).await)
        } else {
            None
        };
        Self {
            redis_pid: redis_number(&redis, "server", "process_id") as u32,
            floor,
            common,
            deep,
            embedded,
            large,
            over_qdrant,
            qdrant,
            redis,
            directory,
        }
    }

    /// Fills all; returns the bytes of an item in a cache.
    async fn fill(&self) -> f64 {
        let common = channel(&self.common.address).await;
        let deep = channel(&self.deep.address).await;
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
        // The models of the fill are saved behind its acknowledgement.
        until_idle(&[self.common.pid(), self.deep.pid(), self.redis_pid]).await;
        cached * 1e6 / fill::ITEMS as f64
    }

    fn server(&self, kind: ServerKind) -> Option<&BenchServer> {
        match kind {
            ServerKind::Floor => None,
            ServerKind::Common => Some(&self.common),
            ServerKind::Deep => Some(&self.deep),
            ServerKind::Embedded => Some(&self.embedded),
            ServerKind::Large => self.large.as_ref(),
            ServerKind::Mirrored | ServerKind::LargeQdrant | ServerKind::LargeMirrored => {
                self.over_qdrant.get(&kind)
            }
        }
    }

    /// The memory of an item in a mirror, its texts included.
    fn mirrored_item(&self) -> Option<Target> {
        let resident = |kind| Some(resident_mb(self.over_qdrant.get(&kind)?.pid()));
        let more = resident(ServerKind::LargeMirrored)? - resident(ServerKind::Mirrored)?;
        Some(Target {
            what: "an item in a mirror with its texts, bytes",
            value: more * 1e6 / (fill::LARGE_ITEMS - fill::ITEMS) as f64,
            bound: Bound::None,
        })
    }

    fn address(&self, server: ServerKind) -> &str {
        let recsys = self.server(server);
        recsys.map_or(&self.floor.address, |server| &server.address)
    }

    fn pid(&self, server: ServerKind) -> u32 {
        let recsys = self.server(server);
        recsys.map_or_else(|| self.floor.pid(), BenchServer::pid)
    }
}

pub async fn channel(address: &str) -> tonic::transport::Channel {
    super::support::server::connect(address.parse().expect("an address")).await
}

pub async fn all(settings: &BenchSettings) -> ExitCode {
    println!("starting redis-server, the floor and recsys, and filling them and Qdrant");
    let qdrant = settings.qdrant.as_deref();
    let loads: Vec<BenchLoad> = loads::all(qdrant.is_some())
        .into_iter()
        .filter(|load| load.name.contains(&settings.only))
        .collect();
    let servers = Servers::start(&loads, qdrant).await;
    let cached_item = servers.fill().await;
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
    for load in loads
        .iter()
        .filter(|load| matches!(load.kind, LoadKind::Unary))
    {
        let rate = median_round(&rounds, load.name).per_second * SHARE_AT_RATE;
        rows.extend(at_rate(&servers, load, rate, settings.span()).await);
    }
    let mut targets = loads::targets(&rounds);
    targets.extend(starts(&servers).await);
    let informative = [
        ("an item in the cache, bytes", cached_item),
        ("a call in flight, bytes", in_flight(&servers).await),
    ];
    targets.extend(servers.mirrored_item());
    targets.extend(informative.map(|(what, value)| Target {
        what,
        value,
        bound: Bound::None,
    }));
    if qdrant.is_some() {
        servers.qdrant.delete_collections().await;
    }
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
    let shape = match load.kind {
        LoadKind::Unary | LoadKind::Stream { .. } => SHAPE,
        LoadKind::Batch { .. } => Shape {
            connections: 2,
            in_flight: 1,
        },
        LoadKind::AloneInFlight | LoadKind::After(_) => Shape {
            connections: 1,
            in_flight: 1,
        },
    };
    let driver = Driver::connect(servers.address(load.server), shape).await;
    run(&driver, load, WARM_UP).await;
    let before = cpu(servers, load.server);
    let measured = run(&driver, load, span).await;
    let after = cpu(servers, load.server);
    if let Some(status) = &measured.first_failure {
        panic!("{}: {} calls failed: {status}", load.name, measured.failed);
    }
    let mut row = Row::new(load.name, &measured, after.0 - before.0, after.1 - before.1);
    match load.kind {
        LoadKind::Batch { elements: each } | LoadKind::Stream { events: each } => {
            row.per_element(each);
        }
        LoadKind::Unary | LoadKind::AloneInFlight | LoadKind::After(_) => {}
    }
    row.resident_mb = resident_mb(servers.pid(load.server));
    row
}

async fn run(driver: &Driver, load: &BenchLoad, span: Duration) -> Measured {
    match &load.kind {
        LoadKind::Unary | LoadKind::AloneInFlight | LoadKind::Batch { .. } => {
            driver.closed_loop(&load.call, span).await
        }
        LoadKind::Stream { .. } => driver.streams(&load.call, span).await,
        LoadKind::After(first) => driver.one_after(first, &load.call, span).await,
    }
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
        ("QDRANT_API_URL", servers.qdrant.url()),
        ("COLLECTION_NAME", fill::COLLECTION),
        ("CATALOG_MIRROR", "off"),
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
