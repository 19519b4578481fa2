//! What a run tells: a line a minute, and a page in Markdown at its end.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{
    checks::Check,
    faults::{FAULTS, Fault},
    memory::Memory,
    observer::{ENDS, Ended, Observer},
    rpc::{RPCS, Rpc},
    settings::Settings,
    world::World,
};

const MINUTE: Duration = Duration::from_secs(60);
/// A minute that the end cuts shorter than this has no line.
const WORTH_A_LINE: Duration = Duration::from_secs(10);

/// Prints a line for every minute.
pub async fn minutes(world: &Arc<World>, memory: &Memory, stop: &CancellationToken) {
    let mut ended_before = [0; ENDS.len()];
    for minute in 0.. {
        let begun = Instant::now();
        let whole = stop.run_until_cancelled(tokio::time::sleep(MINUTE)).await;
        if begun.elapsed() < WORTH_A_LINE {
            return;
        }
        let ended = ENDS.map(|end| world.observer.sum(end));
        let new = |end: Ended| {
            let place = ENDS.iter().position(|other| *other == end);
            place.map_or(0, |place| ended[place] - ended_before[place])
        };
        let calls: u64 = ENDS.iter().map(|end| new(*end)).sum();
        let latency = |rpc: Rpc| {
            let calm = world.observer.latencies.over(rpc, minute..minute + 1);
            format!("{:.1}/{:.1}", calm.quantile(0.5), calm.quantile(0.99))
        };
        println!(
            "minute {:>3}: {calls} calls, {} failed by a fault, {} unexplained so far; calm p50/p99 ms: ingest {}, \
             recommend {}, health {}; {:.1} MiB; {}",
            minute + 1,
            new(Ended::Explained),
            world.observer.pending(),
            latency(Rpc::IngestEvent),
            latency(Rpc::Recommend),
            latency(Rpc::Health),
            memory.now(),
            world
                .observer
                .weather
                .names(begun, Instant::now())
                .join(", "),
        );
        ended_before = ended;
        if whole.is_none() {
            return;
        }
    }
}

/// What the page says besides the checks.
pub struct Run<'a> {
    pub settings: &'a Settings,
    pub seed: u64,
    pub took: Duration,
    pub cpu_seconds: f64,
    pub left_out: usize,
}

pub fn page(world: &World, run: &Run<'_>, checks: &[Check]) -> String {
    let parts = [
        summary(world, run),
        judged(checks),
        calls(&world.observer),
        faults(&world.observer),
        problems(checks),
    ];
    parts.join("\n\n")
}

fn summary(world: &World, run: &Run<'_>) -> String {
    let all: u64 = ENDS.iter().map(|end| world.observer.sum(*end)).sum();
    format!(
        "# Soak of {:.0} minutes, seed {}\n\n\
         {} calls a second were asked for: {all} calls and results of batches, {} events of {} \
         users, {} calls left out. The server took {:.0} % of one core.",
        run.took.as_secs_f64() / 60.0,
        run.seed,
        run.settings.rate,
        world.events(),
        world.people.all().len(),
        run.left_out,
        100.0 * run.cpu_seconds / run.took.as_secs_f64(),
    )
}

fn judged(checks: &[Check]) -> String {
    let row = |check: &Check| vec![check.name.into(), check.result().into(), check.figures()];
    table(
        &["check", "result", "figures"],
        checks.iter().map(row).collect(),
    )
}

fn calls(observer: &Observer) -> String {
    let mut head = vec!["call", "p50 ms", "p99 ms"];
    head.extend(ENDS.map(Ended::name));
    let row = |rpc: Rpc| {
        let calm = observer.latencies.over(rpc, 0..usize::MAX);
        let mut row = vec![rpc.name().to_owned()];
        row.extend([0.5, 0.99].map(|share| format!("{:.1}", calm.quantile(share))));
        row.extend(ENDS.map(|end| observer.count(rpc, end).to_string()));
        row
    };
    let rows = table(&head, RPCS.map(row).into());
    format!(
        "{rows}\n\nTimes are of calls while all was calm, with the way through the test server of \
         Qdrant's protocol, which looks at every item for each search."
    )
}

fn faults(observer: &Observer) -> String {
    let row = |fault: Fault| {
        let toll = observer.toll(fault);
        vec![
            fault.name().to_owned(),
            observer.weather.count(fault).to_string(),
            toll.calls.to_string(),
            format!("{:.1}", toll.latest.as_secs_f64()),
        ]
    };
    table(
        &[
            "fault",
            "times",
            "calls failed by it",
            "last, s after its end",
        ],
        FAULTS.map(row).into(),
    )
}

fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let head: Vec<String> = head.iter().map(|name| (*name).to_owned()).collect();
    let rule = vec!["---".to_owned(); head.len()];
    let lines = [head, rule].into_iter().chain(rows);
    let lines: Vec<String> = lines.map(|cells| line(&cells)).collect();
    lines.join("\n")
}

fn problems(checks: &[Check]) -> String {
    let failed = checks.iter().filter(|check| !check.passed());
    let told = failed.map(|check| {
        let told: Vec<String> = check
            .told()
            .iter()
            .map(|told| format!("* {told}"))
            .collect();
        let (name, count) = (check.name, check.problems());
        format!("{name}: {count} problems\n\n{}", told.join("\n"))
    });
    let told: Vec<String> = told.collect();
    if told.is_empty() {
        "No problems.".to_owned()
    } else {
        told.join("\n\n")
    }
}
