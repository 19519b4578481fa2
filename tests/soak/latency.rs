//! How long calls took while all was calm, by minute.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use super::{
    checks::Check,
    rpc::{RPCS, Rpc},
};

/// Each bucket is so much wider than the one before: a quantile is off by no
/// more.
const GROWTH: f64 = 1.02;
const FIRST_BUCKET_US: f64 = 10.0;
/// Up to a hundred seconds.
const BUCKETS: usize = 820;
/// Calls below which a quantile says nothing.
const ENOUGH: u64 = 100;

#[derive(Clone)]
pub struct Histogram {
    counts: Vec<u32>,
    all: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            all: 0,
        }
    }
}

impl Histogram {
    pub fn record(&mut self, took: Duration) {
        let steps = (took.as_micros() as f64 / FIRST_BUCKET_US).ln() / GROWTH.ln();
        let bucket = (steps.max(0.0) as usize).min(BUCKETS - 1);
        self.counts[bucket] += 1;
        self.all += 1;
    }

    fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.all += other.all;
    }

    /// In milliseconds; 0 if nothing was recorded.
    pub fn quantile(&self, share: f64) -> f64 {
        let wanted = (self.all as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted.max(1) {
                return FIRST_BUCKET_US * GROWTH.powi(bucket as i32 + 1) / 1_000.0;
            }
        }
        0.0
    }
}

pub struct Latencies {
    started: Instant,
    minutes: Mutex<Vec<Vec<Histogram>>>,
}

impl Latencies {
    pub fn new(started: Instant) -> Self {
        Self {
            started,
            minutes: Mutex::default(),
        }
    }

    pub fn record(&self, rpc: Rpc, begun: Instant, took: Duration) {
        let minute = (begun.duration_since(self.started).as_secs() / 60) as usize;
        let mut minutes = self.minutes.lock().unwrap();
        while minutes.len() <= minute {
            minutes.push(vec![Histogram::default(); RPCS.len()]);
        }
        minutes[minute][rpc as usize].record(took);
    }

    /// Of one RPC over some minutes.
    pub fn over(&self, rpc: Rpc, minutes: std::ops::Range<usize>) -> Histogram {
        let mut all = Histogram::default();
        for minute in self
            .minutes
            .lock()
            .unwrap()
            .iter()
            .take(minutes.end)
            .skip(minutes.start)
        {
            all.add(&minute[rpc as usize]);
        }
        all
    }

    /// Compares the first third of the minutes with the last.
    ///
    /// The first minute warms up, and is left out. Late may be twice early and
    /// 5 ms (p50), or four times early and 50 ms (p99): a queue that builds up, a
    /// cost that grows with the users met, or a leaking lock multiplies
    /// latencies far beyond that, while a neighbour on the machine does not
    /// often. What it does, the health call, which does nothing, suffers too:
    /// by the factor that it became slower, all others may.
    pub fn check(&self, whole_minutes: usize) -> Check {
        let mut check = Check::new("latency does not climb");
        let judged = whole_minutes.saturating_sub(1);
        if judged < 2 {
            check.cannot_judge("it takes three minutes");
            return check;
        }
        let third = judged.div_ceil(3);
        let (early, late) = (1..1 + third, whole_minutes - third..whole_minutes);
        let mut machine = [1.0, 1.0];
        // The health call first.
        for rpc in RPCS.iter().rev() {
            let (before, after) = (
                self.over(*rpc, early.clone()),
                self.over(*rpc, late.clone()),
            );
            for (index, (name, share, factor, more_ms)) in
                [("p50", 0.5, 2.0, 5.0), ("p99", 0.99, 4.0, 50.0)]
                    .into_iter()
                    .enumerate()
            {
                let (early_ms, late_ms) = (before.quantile(share), after.quantile(share));
                if *rpc == Rpc::Health {
                    machine[index] = (late_ms / early_ms).max(1.0);
                    continue;
                }
                let most = early_ms * factor * machine[index] + more_ms;
                if before.all >= ENOUGH && after.all >= ENOUGH && late_ms > most {
                    check.problem(format!(
                        "{} {name} was {early_ms:.1} ms and is {late_ms:.1} ms, at most {most:.1} ms",
                        rpc.name()
                    ));
                }
            }
        }
        check.figure(format!(
            "calm minutes {} to {} against {} to {}; the health call became {:.2} (p50) and {:.2} (p99) times as slow",
            early.start + 1, early.end, late.start + 1, late.end, machine[0], machine[1]
        ));
        check
    }
}
