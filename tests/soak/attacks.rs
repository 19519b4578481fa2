//! The budget of memory in full: the program under a hard limit of memory, with an attacker
//! of each kind in turn, while the calls of another tenant go on.

use std::{
    fs::File,
    net::SocketAddr,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use deadpool_redis::redis::{Client, pipe};
use recsys::proto::{
    BatchIngestEventsRequest, RecommendRequest,
    recommender_service_client::RecommenderServiceClient,
};

use tokio::{runtime::Builder, task::JoinSet};
use tonic::Code;

use super::{
    SoakSettings,
    checks::SoakCheck,
    processes::resident_mib,
    support::{
        attacks::{ATTACKS, Attacker},
        program::Served,
        redis::RedisServer,
        server::{connect, liked, named},
        state_attacks::StateAttacker,
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
/// How long the last attack may have an effect.
const SETTLED: Duration = Duration::from_secs(5);
/// The p99 of the healthy tenant may grow by this factor.
const MAX_SLOWDOWN: f64 = 5.0;
/// No command of Redis may take longer, in microseconds.
const SLOW_COMMAND_MICROS: u64 = 5_000;

/// Users of the healthy tenant: so many that none has thousands of events in the end, which
/// would make the tenant's own calls slower than the quiet ones before.
const USERS: u64 = 5_000;
const CALLERS: u64 = 4;
/// How many calls the healthy tenant makes over one connection.
const CALLS_OF_CONNECTION: u64 = 50;
/// The attacks on the stores, in the order in which they are tried.
const STATE_ATTACKS: [&str; 6] = [
    "ids of many lengths",
    "a large user",
    "exports",
    "profiles",
    "a stream of batches",
    "full catalogues",
];

/// Clients of each kind.
struct Attackers {
    memory: Attacker,
    state: StateAttacker,
}

impl Attackers {
    /// Tries one of [`ATTACKS`] and [`STATE_ATTACKS`]. What it is answered does not matter.
    async fn attack(&self, attack: &str) {
        let Self { memory, state } = self;
        match attack {
            "ids of many lengths" => state.ids_of_many_lengths().await,
            "a large user" => state.large_user().await,
            "exports" => {
                let _ = state.export_whole().await;
                drop(state.exports_in_pages().await);
            }
            "profiles" => state.profiles().await,
            "a stream of batches" => drop(state.stream_batches(5).await),
            // Behind the attacker's other uploads, one may miss its deadline, and the
            // attacker's connection reaches its maximum age meanwhile.
            "full catalogues" => {
                if let Err(status) = state.fill_catalogues().await {
                    let expected = [Code::DeadlineExceeded, Code::Cancelled];
                    assert!(expected.contains(&status.code()), "{status}");
                }
            }
            attack => memory.attack(attack, || {}).await,
        }
    }
}

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

/// Calls for all users in turn, from one of them on.
async fn call(made: Arc<HealthyCalls>, address: SocketAddr, key: String, first: u64) {
    let mut client = RecommenderServiceClient::new(connect(address).await);
    let mut number = first;
    while !made.stop.load(Ordering::SeqCst) {
        number += 1;
        let user = format!("user{}", number % USERS);
        let events =
            (0..10).map(|index| named(&format!("{first}-{number}-{index}"), liked(&user, "2001")));
        let events = events.collect();
        let request = with_headers(&[("x-api-key", &key)], BatchIngestEventsRequest { events });
        if number.is_multiple_of(CALLS_OF_CONNECTION) {
            client = RecommenderServiceClient::new(connect(address).await);
        }
        let begin = Instant::now();
        let ingested = client.batch_ingest_events(request).await.map(|_| ());
        let end_of_ingest = Instant::now();
        let list = RecommendRequest {
            user_id: user,
            ..RecommendRequest::default()
        };
        let listed = client
            .recommend(with_headers(&[("x-api-key", &key)], list))
            .await
            .map(|_| ());
        let latencies = [end_of_ingest - begin, end_of_ingest.elapsed()];
        made.latencies.lock().unwrap().extend(latencies);
        for status in [ingested, listed].into_iter().filter_map(Result::err) {
            made.failures.lock().unwrap().push(status.to_string());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The threads of this process.
fn threads() -> Vec<String> {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    threads
        .map(|thread| thread.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// Gives processes and threads a niceness, from -20 for precedence over all others to 19 for
/// none, and what they start. Returns whether that is permitted.
fn renice(niceness: &str, ids: &[String]) -> bool {
    let status = Command::new("renice")
        .args(["-n", niceness, "-p"])
        .args(ids)
        .stdout(Stdio::null())
        .status();
    status.unwrap().success()
}

/// A process that is killed when this is dropped.
struct KilledProcess(u32);

impl Drop for KilledProcess {
    fn drop(&mut self) {
        let _ = Command::new("kill")
            .args(["-KILL", &self.0.to_string()])
            .stderr(Stdio::null())
            .status();
    }
}

/// The slow command of Redis that took longest since the last time, in microseconds.
async fn take_slowest_command(redis: &RedisServer) -> Option<(u64, String)> {
    /// Number, time, microseconds, arguments, address and name of the client.
    type SlowCommand = (u64, u64, u64, Vec<Vec<u8>>, String, String);
    let client = Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut entries = pipe();
    entries.cmd("SLOWLOG").arg("GET").arg(-1);
    entries.cmd("SLOWLOG").arg("RESET").ignore();
    let (commands,): (Vec<SlowCommand>,) = entries.query_async(&mut connection).await.unwrap();
    let slowest = commands.into_iter().max_by_key(|command| command.2);
    slowest.map(|(_, _, micros, arguments, ..)| {
        let shown = arguments.iter().take(6).map(|argument| {
            let shown = &argument[..argument.len().min(40)];
            String::from_utf8_lossy(shown).into_owned()
        });
        (micros, shown.collect::<Vec<_>>().join(" "))
    })
}

/// Whether all checks passed.
pub async fn run(settings: &SoakSettings) -> bool {
    let redis = RedisServer::start();
    redis.cli(&["CONFIG", "SET", "slowlog-log-slower-than", "1000"]);
    let mut tenants = Tenants::new(&["shop", "other", "third"]);
    let healthy = tenants.key("shop", &["ingest", "serve"]);
    let key = tenants.key("other", &["ingest", "serve", "catalog"]);
    let state_keys = StateAttacker::keys(&mut tenants, ["other", "third"]);
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
    let address = served.address.parse().unwrap();
    let attackers = Arc::new(Attackers {
        memory: Attacker {
            address,
            webhook,
            key,
        },
        state: StateAttacker::new(address, state_keys).await,
    });
    let pid = served.child.id();
    let _killed_at_the_end = KilledProcess(pid);
    // Copies the log to its end, which is the end of the process.
    std::fs::create_dir_all(&settings.out).unwrap();
    let mut copy = File::create(settings.out.join("attack.log")).unwrap();
    let log = std::thread::spawn(move || std::io::copy(&mut served.log, &mut copy));

    let made = Arc::new(HealthyCalls::default());
    let threads_of_attacks = threads();
    // On a thread of their own, which the clients of the attacks do not delay.
    let calls = std::thread::spawn({
        let made = made.clone();
        move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut calls = JoinSet::new();
                for caller in 0..CALLERS {
                    let first = caller * USERS / CALLERS;
                    calls.spawn(call(made.clone(), address, healthy.clone(), first));
                }
                calls.join_all().await;
            });
        }
    });
    // Attackers and Redis have processors of their own: those of this machine are the
    // service's, and a command of Redis takes the time that it takes.
    assert!(renice("19", &threads_of_attacks), "renice");
    if !renice("-10", &[redis.process().to_string()]) {
        println!("without precedence for redis, commands that wait for a processor count as slow");
    }
    tokio::time::sleep(QUIET).await;
    let quiet = made.take_p99();
    // What is slow without an attack is the machine's doing.
    let noise = take_slowest_command(&redis).await.unwrap_or_default().0;
    let slowest = if noise > SLOW_COMMAND_MICROS {
        2 * noise
    } else {
        SLOW_COMMAND_MICROS
    };
    println!("quiet: p99 {quiet:.1} ms, slowest command of redis {noise} us");
    let mut slow = SoakCheck::new("the healthy tenant is not slowed down much");
    let mut alive = SoakCheck::new("the process lives under its limit of memory");
    let mut tried = SoakCheck::new("each attack is carried out");
    let mut commands = SoakCheck::new(
        "no command of redis takes longer than 5 ms, or twice what one took without an attack",
    );
    let chosen = |attack: &&str| settings.only.as_deref().is_none_or(|only| only == *attack);
    for attack in ATTACKS.into_iter().chain(STATE_ATTACKS).filter(chosen) {
        let begin = Instant::now();
        let mut times = 0;
        while begin.elapsed() < ATTACK {
            let attackers = attackers.clone();
            let carried_out = tokio::spawn(async move { attackers.attack(attack).await });
            times += usize::from(carried_out.await.is_ok());
        }
        let p99 = made.take_p99();
        let resident = resident_mib(pid).unwrap_or_default();
        let failed = made.failures.lock().unwrap().len();
        let (micros, command) = take_slowest_command(&redis).await.unwrap_or_default();
        println!(
            "{attack}: {times} times, p99 {p99:.1} ms, slowest command of redis {micros} us, \
             {resident:.0} MiB resident, {failed} calls failed until now"
        );
        if times == 0 {
            tried.problem(attack);
        }
        if p99 > MAX_SLOWDOWN * quiet {
            slow.problem(format!("{attack}: p99 {p99:.1} ms, quiet {quiet:.1} ms"));
        }
        if micros > slowest {
            commands.problem(format!("{attack}: {micros} microseconds: {command}"));
        }
        if log.is_finished() {
            alive.problem(format!("{attack}: the process ended"));
            break;
        }
    }
    tokio::time::sleep(SETTLED).await;
    made.take_p99();
    tokio::time::sleep(QUIET).await;
    println!("quiet again: p99 {:.1} ms", made.take_p99());
    made.stop.store(true, Ordering::SeqCst);
    let ended = tokio::task::spawn_blocking(|| calls.join()).await.unwrap();
    let mut failed = SoakCheck::new("no call of the healthy tenant fails");
    if ended.is_err() {
        failed.problem("its client panicked");
    }
    for failure in made.failures.lock().unwrap().iter().take(10) {
        failed.problem(failure.clone());
    }
    let checks = [tried, alive, failed, slow, commands];
    for check in &checks {
        let result = if check.passed() { "PASS" } else { "FAIL" };
        println!("{result}: {}", check.name);
        for problem in &check.reported {
            println!("  {problem}");
        }
    }
    let _ = Command::new("kill")
        .args(["-TERM", &pid.to_string()])
        .status();
    let _ = log.join();
    checks.iter().all(SoakCheck::passed)
}
