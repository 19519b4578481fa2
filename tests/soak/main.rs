//! The soak: `scripts/soak.sh` builds and runs it. No test of `cargo test`.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test, which says what it does, and fails by panicking where it cannot go on"
)]

mod appends;
mod buffers;
mod catalogue;
mod checks;
mod dice;
mod ends;
mod events;
mod faults;
mod latency;
mod load;
mod memory;
mod models;
mod observer;
mod people;
mod reads;
mod report;
mod rig;
mod rpc;
mod rubbish;
mod sabotage;
mod settings;
mod shelf;
#[path = "../it/support/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "most of it is for other tests, and some are in it"
)]
mod support;
mod weather;
mod witness;
mod world;

use std::{
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use self::{
    checks::Check,
    dice::Dice,
    memory::Memory,
    people::People,
    rig::Rig,
    settings::Settings,
    shelf::DIMENSIONS,
    support::{qdrant::QdrantServer, redis::RedisServer},
    world::World,
};

/// Users who send events at a time, for each call a second.
const USERS_PER_RATE: usize = 2;

fn main() -> ExitCode {
    let settings = Settings::parse();
    if settings.bench {
        println!("the soak is no benchmark: run scripts/soak.sh");
        return ExitCode::SUCCESS;
    }
    ends::count_panics();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let stop = stop_on_signal();
        let passed = stop.run_until_cancelled(soak(&settings)).await;
        match passed {
            Some(true) => ExitCode::SUCCESS,
            Some(false) => ExitCode::FAILURE,
            None => {
                eprintln!("interrupted: nothing was judged");
                ExitCode::FAILURE
            }
        }
    })
}

/// Whether all checks passed.
async fn soak(settings: &Settings) -> bool {
    let seed = settings.seed.unwrap_or_else(any_seed);
    println!(
        "{} minutes at {} calls a second; to repeat it: --seed {seed}",
        settings.minutes, settings.rate
    );
    let mut dice = Dice::new(seed);
    let redis = RedisServer::with(&["--maxmemory-policy", "noeviction"]);
    let qdrant = QdrantServer::start().await;
    let store = shelf::store(&qdrant.url());
    store.prepare(Some(DIMENSIONS)).await.expect("a collection");
    let rig = Rig::new(settings, redis, qdrant);
    let people = People::new(USERS_PER_RATE * settings.rate as usize, &mut dice);
    let world = World::new(rig, people);
    catalogue::fill(&world).await;

    let memory = Memory::default();
    let (cpu_before, started) = (
        world.rig.server.lock().unwrap().cpu_seconds(),
        Instant::now(),
    );
    let left_out = under_load(&world, settings, &memory, &mut dice).await;
    let took = started.elapsed();
    let cpu_seconds = world.rig.server.lock().unwrap().cpu_seconds() - cpu_before;

    println!("the load is over, checking");
    let mut checks = ends::settled(&world, settings.sabotage).await;
    checks.push(memory.check());
    checks.push(
        world
            .observer
            .latencies
            .check((took.as_secs() / 60) as usize),
    );
    checks.push(ends::server(&world));
    checks.push(ends::driver(&world, &left_out, took));
    let run = report::Run {
        settings,
        seed,
        took,
        cpu_seconds,
        left_out: left_out.unwrap_or_default(),
    };
    let page = report::page(&world, &run, &checks);
    println!("\n{page}");
    let path = settings.out.join(format!("report-{seed}.md"));
    std::fs::write(&path, page).expect("a file for the report");
    let log = world.rig.server.lock().unwrap().log().display().to_string();
    println!("report: {}, log of the server: {log}", path.display());
    let passed = checks.iter().all(Check::passed);
    println!("{}", if passed { "PASS" } else { "FAIL" });
    passed
}

async fn under_load(
    world: &Arc<World>,
    settings: &Settings,
    memory: &Memory,
    dice: &mut Dice,
) -> Result<usize, &'static str> {
    let lasts = Duration::from_secs_f64(60.0 * settings.minutes);
    let over = CancellationToken::new();
    let _over = over.clone().drop_guard();
    let timer = over.clone();
    tokio::spawn(async move {
        tokio::time::sleep(lasts).await;
        timer.cancel();
    });
    let (rig, observer) = (&world.rig, &world.observer);
    let (pid, qdrant_url) = (rig.server.lock().unwrap().pid(), rig.qdrant.url());
    let sabotage = settings.sabotage;
    let (calls, weather) = (dice.fork(), dice.fork());
    let faults = async {
        if sabotage.is_none_or(|sabotage| !sabotage.wants_calm()) {
            faults::play(world, weather, &over).await;
        }
    };
    let (left_out, ..) = tokio::join!(
        load::run(world, settings.rate, calls, &over),
        faults,
        memory.watch(pid, over.clone()),
        report::minutes(world, memory, &over),
        observer
            .witness
            .watch(&observer.weather, &rig.redis_url, &qdrant_url, &over),
        sabotage::during(world, sabotage, lasts * 2 / 3, &over),
    );
    left_out
}

fn any_seed() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    // Short enough to be typed.
    Dice::new(now.as_nanos() as u64).roll() % 1_000_000
}

/// Cancelled by a signal that asks to end.
fn stop_on_signal() -> CancellationToken {
    let stop = CancellationToken::new();
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ];
    for kind in kinds {
        let stop = stop.clone();
        let mut signals = signal(kind).unwrap();
        tokio::spawn(async move {
            signals.recv().await;
            stop.cancel();
        });
    }
    stop
}
