//! The soak: `scripts/soak.sh` builds and runs it. Not a test of `cargo test`.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test, which fails by panicking where it cannot go on"
)]

mod attacks;
mod calls;
mod checks;
mod events;
mod faults;
mod items;
mod load;
mod models;
mod processes;
mod random;
mod report;
#[path = "../it/support/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "most of it is for the integration tests"
)]
mod support;
mod users;
mod world;

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use clap::Parser as _;
use tokio_util::sync::CancellationToken;

use self::{checks::SoakCheck, processes::Memory, random::Random, report::Run, world::World};

/// Runs a recsys server for a long time under mixed load and faults, over a real Redis
/// and a server of Qdrant's protocol, all started here; then checks that nothing that
/// was acknowledged is lost, duplicated or wrong, and that neither memory nor latency
/// climbs. Exits with 0 if all checks pass, and with 1 otherwise.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "soak.sh")]
pub struct SoakSettings {
    /// Minutes of load
    #[arg(long, value_name = "N", default_value_t = 20)]
    minutes: u32,
    /// Seed of calls and faults; random by default, and printed
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Calls per second
    #[arg(long, value_name = "R", default_value_t = 150, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    rate: u32,
    /// The program to run
    #[arg(long, env = "SOAK_BINARY", value_name = "FILE", default_value = env!("CARGO_BIN_EXE_recsys"))]
    binary: PathBuf,
    /// Where the report and the server's log are written
    #[arg(long, value_name = "DIRECTORY", default_value = "target/soak")]
    out: PathBuf,
    /// Instead of the load: attacks on the memory of a server under a hard limit of 512 MiB
    #[arg(long)]
    attack: bool,
    /// Only the attack of this name
    #[arg(long, value_name = "NAME", requires = "attack")]
    only: Option<String>,
    /// `cargo bench` passes it
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let settings = SoakSettings::parse();
    if settings.bench {
        println!("the soak is no benchmark: run scripts/soak.sh");
        return ExitCode::SUCCESS;
    }
    let run = async {
        if settings.attack {
            attacks::run(&settings).await
        } else {
            soak(&settings).await
        }
    };
    tokio::select! {
        passed = run => ExitCode::from(u8::from(!passed)),
        _ = tokio::signal::ctrl_c() => {
            eprintln!("interrupted");
            ExitCode::FAILURE
        }
    }
}

/// Whether all checks passed.
async fn soak(settings: &SoakSettings) -> bool {
    let seed = settings.seed.unwrap_or_else(random_seed);
    println!(
        "{} minutes at {} calls a second; to repeat it: --seed {seed}",
        settings.minutes, settings.rate
    );
    let mut random = Random::new(seed);
    let world = World::start(settings, &mut random).await;
    let memory = Memory::default();
    let cpu_before = world.server().cpu_seconds();
    let started = Instant::now();

    let stop = CancellationToken::new();
    let timer = stop.clone();
    let duration = Duration::from_secs(60) * settings.minutes;
    tokio::spawn(async move {
        tokio::time::sleep(duration).await;
        timer.cancel();
    });
    let (calls, faults) = (random.fork(), random.fork());
    let pid = world.server().pid();
    let (finished, ..) = tokio::join!(
        load::run(&world, settings.rate, calls, &stop),
        faults::play(&world, faults, &stop),
        memory.watch(pid, &stop),
        report::minutes(&world, &memory, &stop),
    );
    let duration = started.elapsed();
    let cpu_seconds = world.server().cpu_seconds() - cpu_before;

    println!("checking");
    let mut checks = checks::after_load(&world).await;
    checks.push(memory.check());
    checks.push(world.recorder.latencies.check(settings.minutes as usize));
    if let Err(problem) = finished {
        let mut check = SoakCheck::new("every call ends");
        check.problem(problem);
        checks.push(check);
    }
    checks.push(checks::server(&world));
    let run = Run {
        seed,
        rate: settings.rate,
        duration,
        cpu_seconds,
    };
    let page = report::page(&world, &run, &checks);
    println!("\n{page}");
    let path = settings.out.join(format!("report-{seed}.md"));
    std::fs::write(&path, page).expect("a file for the report");
    println!("report: {}", path.display());
    let passed = checks.iter().all(SoakCheck::passed);
    println!("{}", if passed { "PASS" } else { "FAIL" });
    passed
}

/// Short enough to be typed.
fn random_seed() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::from(now.subsec_nanos()) % 1_000_000
}
