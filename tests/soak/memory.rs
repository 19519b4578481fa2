//! How much memory the server takes.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::checks::Check;

const EVERY: Duration = Duration::from_secs(1);
/// By how much the last third of a run may be above the middle third.
///
/// The first third fills what is bounded: the two caches (8 MiB of buffers
/// here, and all items), the allocator's arenas, the stacks and connections of
/// the first outage. From then on the load is the same all the time, as users
/// come and go at an even rate, so what the server holds is, too: what still
/// climbs is kept for ever. A third on, an allocator differs by some MB for the
/// faults that the dice put there, hence the 10 MB; the 10 % are for a server
/// that is large to begin with. In 20 minutes that finds what is kept at some
/// 25 KB/s, 170 bytes a call; in a night, 20 times less. The slope is told in any
/// case, for whoever compares runs.
const MORE_MIB: f64 = 10.0;
const MORE_SHARE: f64 = 0.10;

#[derive(Default)]
pub struct Memory {
    /// Seconds since the start, and resident MiB.
    samples: Mutex<Vec<(f64, f64)>>,
}

impl Memory {
    pub async fn watch(&self, pid: u32, stop: CancellationToken) {
        let started = Instant::now();
        let mut ticks = tokio::time::interval(EVERY);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            if let Some(mib) = resident_mib(pid) {
                let at = started.elapsed().as_secs_f64();
                self.samples.lock().unwrap().push((at, mib));
            }
        }
    }

    pub fn now(&self) -> f64 {
        let samples = self.samples.lock().unwrap();
        samples.last().map_or(0.0, |(_, mib)| *mib)
    }

    pub fn check(&self) -> Check {
        let mut check = Check::new("memory does not climb");
        let samples = self.samples.lock().unwrap();
        let third = samples.len() / 3;
        if third < 59 {
            check.cannot_judge("it takes three minutes");
            return check;
        }
        let (warm, rest) = samples.split_at(third);
        let (middle, last) = rest.split_at(third);
        let (middle, last) = (median(middle), median(last));
        if last > middle * (1.0 + MORE_SHARE) && last > middle + MORE_MIB {
            check.problem(format!(
                "the last third takes {last:.1} MiB, the middle one took {middle:.1} MiB"
            ));
        }
        let peak = samples.iter().map(|(_, mib)| *mib).fold(0.0, f64::max);
        check.figure(format!(
            "resident at the start {:.1} MiB, at the end {:.1}, highest {peak:.1}; median of the \
             thirds {:.1}, {middle:.1}, {last:.1}; slope after the first third {:+.1} MiB/h",
            samples[0].1,
            samples[samples.len() - 1].1,
            median(warm),
            slope_per_hour(rest),
        ));
        check
    }
}

fn resident_mib(pid: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib / 1024.0)
}

fn median(samples: &[(f64, f64)]) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(|(_, mib)| *mib).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// By least squares.
fn slope_per_hour(samples: &[(f64, f64)]) -> f64 {
    let count = samples.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (at, mib) = (mean(|sample| sample.0), mean(|sample| sample.1));
    let (mut above, mut below) = (0.0, 0.0);
    for sample in samples {
        above += (sample.0 - at) * (sample.1 - mib);
        below += (sample.0 - at) * (sample.0 - at);
    }
    3_600.0 * above / below
}
