//! A line a minute, and a page in Markdown at the end.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::{
    calls::{CALL_ENDS, CallEnd, RPCS, Rpc},
    checks::SoakCheck,
    faults::FAULTS,
    processes::Memory,
    world::World,
};

const MINUTE: Duration = Duration::from_secs(60);

pub async fn minutes(world: &World, memory: &Memory, stop: &CancellationToken) {
    let recorder = &world.recorder;
    let (mut calls, mut failed) = (0, 0);
    for minute in 0.. {
        let started = Instant::now();
        let slept = stop.run_until_cancelled(tokio::time::sleep(MINUTE)).await;
        let latency = |rpc: Rpc| {
            let calm = recorder.latencies.over(rpc, minute..minute + 1);
            let ms = |quantile| calm.value_at_quantile(quantile) as f64 / 1_000.0;
            format!("{:.1}/{:.1}", ms(0.5), ms(0.99))
        };
        println!(
            "minute {:>3}: {} calls, {} failed by a fault, {} unexpected so far; p50/p99 ms without faults: \
             ingest {}, recommend {}; {:.1} MiB; {}",
            minute + 1,
            recorder.total() - calls,
            recorder.sum(CallEnd::FailedByFault) - failed,
            recorder.sum(CallEnd::Unexpected),
            latency(Rpc::IngestEvent),
            latency(Rpc::Recommend),
            memory.latest_mib(),
            world.timeline.names_since(started).join(", "),
        );
        calls = recorder.total();
        failed = recorder.sum(CallEnd::FailedByFault);
        if slept.is_none() {
            return;
        }
    }
}

pub struct Run {
    pub seed: u64,
    pub rate: u32,
    pub duration: Duration,
    pub cpu_seconds: f64,
}

pub fn page(world: &World, run: &Run, checks: &[SoakCheck]) -> String {
    let recorder = &world.recorder;
    let summary = format!(
        "# Soak of {:.0} minutes, seed {}\n\n{} calls a second: {} calls and results of batches, {} events of {} \
         users. The server used {:.0} % of one core.",
        run.duration.as_secs_f64() / 60.0,
        run.seed,
        run.rate,
        recorder.total(),
        world.events(),
        world.users.all().len(),
        100.0 * run.cpu_seconds / run.duration.as_secs_f64(),
    );
    let results = checks.iter().map(|check| {
        let result = if check.passed() { "PASS" } else { "FAIL" };
        vec![
            check.name.to_owned(),
            result.to_owned(),
            check.figures.join("; "),
        ]
    });
    let calls = RPCS.iter().map(|rpc| {
        let calm = recorder.latencies.over(*rpc, 0..usize::MAX);
        let ms = |quantile| format!("{:.1}", calm.value_at_quantile(quantile) as f64 / 1_000.0);
        let mut row = vec![format!("{rpc:?}"), ms(0.5), ms(0.99)];
        row.extend(CALL_ENDS.map(|(end, _)| recorder.count(*rpc, end).to_string()));
        row
    });
    let faults = FAULTS.iter().map(|fault| {
        let effect = recorder.effect(*fault);
        vec![
            fault.name().to_owned(),
            world.timeline.count(*fault).to_string(),
            effect.calls.to_string(),
            format!("{:.1}", effect.last_after.as_secs_f64()),
        ]
    });
    let mut call_columns = vec!["call", "p50 ms", "p99 ms"];
    call_columns.extend(CALL_ENDS.map(|(_, name)| name));
    let mut parts = vec![
        summary,
        table(&["check", "result", "figures"], results),
        table(&call_columns, calls),
        table(
            &["fault", "times", "calls failed", "last, s after its end"],
            faults,
        ),
    ];
    for check in checks.iter().filter(|check| !check.passed()) {
        let list: Vec<String> = check
            .reported
            .iter()
            .map(|one| format!("* {one}"))
            .collect();
        parts.push(format!(
            "{}: {} problems\n\n{}",
            check.name,
            check.problems,
            list.join("\n")
        ));
    }
    parts.join("\n\n")
}

fn table(columns: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let head = format!(
        "| {} |\n|{}",
        columns.join(" | "),
        " --- |".repeat(columns.len())
    );
    let rows = rows.map(|cells| format!("\n| {} |", cells.join(" | ")));
    head + &rows.collect::<String>()
}
