//! Makes calls, and records how they end and how long they take.

use std::{
    collections::BTreeMap,
    error::Error as _,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt as _;

use super::{
    checks::SoakCheck,
    faults::{FAULTS, StoreFault, Timeline},
};

/// Longer than the server lets any call take.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// When the transport's own time-out has failed, too.
const HANG_TIMEOUT: Duration = Duration::from_secs(30);
/// One call in so many may find its connection closed before it is sent, and one may
/// time out on a busy machine without a fault.
const RARE: u64 = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rpc {
    IngestEvent,
    BatchIngestEvents,
    GetUserSignals,
    Recommend,
    DeleteUser,
    ExportUser,
    UpsertItems,
    DeleteItems,
}

use Rpc::*;

pub const RPCS: [Rpc; 8] = [
    IngestEvent,
    BatchIngestEvents,
    GetUserSignals,
    Recommend,
    DeleteUser,
    ExportUser,
    UpsertItems,
    DeleteItems,
];
/// Calls that append events.
pub const APPENDS: &[Rpc] = &[IngestEvent, BatchIngestEvents];
/// Calls that fail without the store of users' state.
pub const USER_STATE: &[Rpc] = &[
    IngestEvent,
    BatchIngestEvents,
    GetUserSignals,
    DeleteUser,
    ExportUser,
];
/// Calls that fail without the catalogue.
pub const CATALOGUE: &[Rpc] = &[Recommend, UpsertItems, DeleteItems];

#[derive(Clone, Copy, Debug)]
pub enum CallStyle {
    Patient,
    /// With this short deadline.
    ShortDeadline(Duration),
    /// Cancelled after this time.
    Cancelled(Duration),
}

impl CallStyle {
    pub fn request<M>(self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        request.set_timeout(match self {
            Self::ShortDeadline(deadline) => deadline,
            Self::Patient | Self::Cancelled(_) => CALL_TIMEOUT,
        });
        request
    }
}

/// How calls end, in the order of the report's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallEnd {
    Ok,
    /// Failed as a fault explains.
    FailedByFault,
    /// Exceeded a short deadline.
    DeadlineExceeded,
    Cancelled,
    /// Never left the client, whose connection had just been asked to end.
    Unsent,
    Unexpected,
}

pub const CALL_ENDS: [(CallEnd, &str); 6] = [
    (CallEnd::Ok, "ok"),
    (CallEnd::FailedByFault, "failed by a fault"),
    (CallEnd::DeadlineExceeded, "past a short deadline"),
    (CallEnd::Cancelled, "cancelled"),
    (CallEnd::Unsent, "never sent"),
    (CallEnd::Unexpected, "unexpected"),
];

/// Calls that a fault explains.
#[derive(Clone, Copy, Default)]
pub struct FaultEffect {
    pub calls: u64,
    /// How long after the fault's end the last of them failed.
    pub last_after: Duration,
}

pub struct Recorder {
    pub latencies: Latencies,
    ends: Mutex<BTreeMap<(Rpc, CallEnd), u64>>,
    effects: Mutex<BTreeMap<StoreFault, FaultEffect>>,
    degraded_lists: AtomicU64,
    timeouts: AtomicU64,
    failures: Mutex<SoakCheck>,
    answers: Mutex<SoakCheck>,
}

impl Recorder {
    pub fn new(started: Instant) -> Self {
        Self {
            latencies: Latencies {
                started,
                minutes: Mutex::default(),
            },
            ends: Mutex::default(),
            effects: Mutex::default(),
            degraded_lists: AtomicU64::new(0),
            timeouts: AtomicU64::new(0),
            failures: Mutex::new(SoakCheck::new(
                "no call fails without a fault that explains it",
            )),
            answers: Mutex::new(SoakCheck::new("answers agree with what was acknowledged")),
        }
    }

    /// Makes a call and records its end. `None` if it failed or was cancelled.
    pub async fn call<T>(
        &self,
        timeline: &Timeline,
        rpc: Rpc,
        style: CallStyle,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Option<T> {
        let started = Instant::now();
        let timeout = match style {
            CallStyle::Cancelled(after) => after,
            CallStyle::Patient | CallStyle::ShortDeadline(_) => HANG_TIMEOUT,
        };
        let result = match tokio::time::timeout(timeout, call).await {
            Ok(result) => result,
            Err(_) if matches!(style, CallStyle::Cancelled(_)) => {
                self.ended(rpc, CallEnd::Cancelled);
                return None;
            }
            Err(_) => Err(Status::unknown("no answer")),
        };
        if timeline.is_calm_since(started) && matches!(style, CallStyle::Patient) {
            self.latencies.record(rpc, started);
        }
        match (result, style) {
            (Ok(reply), _) => {
                self.ended(rpc, CallEnd::Ok);
                return Some(reply.into_inner());
            }
            // CANCELLED is what the client's own clock says.
            (Err(status), CallStyle::ShortDeadline(_))
                if matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled) =>
            {
                self.ended(rpc, CallEnd::DeadlineExceeded);
            }
            (Err(status), _) if was_never_sent(&status) => self.ended(rpc, CallEnd::Unsent),
            (Err(status), _) => {
                let reason = status.get_details_error_info().map(|info| info.reason);
                let (code, reason) = (status.code(), reason.unwrap_or_default());
                self.failed(timeline, rpc, started, code, &reason, status.message());
            }
        }
        None
    }

    /// Records that a call, or an element of one, failed.
    pub fn failed(
        &self,
        timeline: &Timeline,
        rpc: Rpc,
        started: Instant,
        code: Code,
        reason: &str,
        message: &str,
    ) {
        let faults = timeline.since(started);
        let cause = faults
            .iter()
            .find(|(fault, _)| fault.explains(rpc, code, reason));
        if let Some((fault, ended_ago)) = cause {
            self.ended(rpc, CallEnd::FailedByFault);
            let mut effects = self.effects.lock().unwrap();
            let effect = effects.entry(*fault).or_default();
            effect.calls += 1;
            effect.last_after = effect.last_after.max(*ended_ago);
            return;
        }
        self.ended(rpc, CallEnd::Unexpected);
        let timed_out = FAULTS
            .iter()
            .any(|fault| fault.explains(rpc, code, reason) && code == Code::Unavailable);
        if timed_out && self.timeouts.fetch_add(1, Ordering::Relaxed) <= self.total() / RARE {
            return;
        }
        let names: Vec<&str> = faults.iter().map(|(fault, _)| fault.name()).collect();
        self.failures.lock().unwrap().problem(format!(
            "{rpc:?} after {:?}: {code:?} {reason} {message:?} during {names:?}",
            started.elapsed()
        ));
    }

    /// Records a list that lacked something.
    pub fn degraded(&self, timeline: &Timeline, started: Instant, what: &[String]) {
        self.degraded_lists.fetch_add(1, Ordering::Relaxed);
        if timeline.is_calm_since(started)
            && self.timeouts.fetch_add(1, Ordering::Relaxed) > self.total() / RARE
        {
            self.wrong(format!("a list lacks {what:?} without a fault"));
        }
    }

    /// Records a wrong answer.
    pub fn wrong(&self, what: String) {
        self.answers.lock().unwrap().problem(what);
    }

    fn ended(&self, rpc: Rpc, end: CallEnd) {
        *self.ends.lock().unwrap().entry((rpc, end)).or_default() += 1;
    }

    pub fn count(&self, rpc: Rpc, end: CallEnd) -> u64 {
        let ends = self.ends.lock().unwrap();
        ends.get(&(rpc, end)).copied().unwrap_or_default()
    }

    pub fn sum(&self, end: CallEnd) -> u64 {
        RPCS.iter().map(|rpc| self.count(*rpc, end)).sum()
    }

    pub fn total(&self) -> u64 {
        self.ends.lock().unwrap().values().sum()
    }

    pub fn effect(&self, fault: StoreFault) -> FaultEffect {
        let effects = self.effects.lock().unwrap();
        effects.get(&fault).copied().unwrap_or_default()
    }

    pub fn checks(&self) -> [SoakCheck; 2] {
        let mut failures = self.failures.lock().unwrap().clone();
        let unsent = self.sum(CallEnd::Unsent);
        if unsent > 1 + self.sum(CallEnd::Ok) / RARE {
            failures.problem(format!("{unsent} calls never left the client"));
        }
        failures.figure(format!(
            "{} calls ok, {} failed by a fault, {} timed out without one, {unsent} never left the client",
            self.sum(CallEnd::Ok),
            self.sum(CallEnd::FailedByFault),
            self.timeouts.load(Ordering::Relaxed),
        ));
        let mut answers = self.answers.lock().unwrap().clone();
        answers.figure(format!(
            "{} models, {} exports and {} lists, {} of them degraded",
            self.count(GetUserSignals, CallEnd::Ok),
            self.count(ExportUser, CallEnd::Ok),
            self.count(Recommend, CallEnd::Ok),
            self.degraded_lists.load(Ordering::Relaxed),
        ));
        [failures, answers]
    }
}

/// Whether the client's transport gave the call back unsent. gRPC clients retry such a
/// call themselves; tonic's does not.
fn was_never_sent(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            return error.is_canceled();
        }
        cause = error.source();
    }
    false
}

type Minute = BTreeMap<Rpc, Histogram<u64>>;

/// Microseconds of calls without a fault, by minute.
pub struct Latencies {
    started: Instant,
    minutes: Mutex<Vec<Minute>>,
}

impl Latencies {
    fn record(&self, rpc: Rpc, started: Instant) {
        let minute = (started.duration_since(self.started).as_secs() / 60) as usize;
        let mut minutes = self.minutes.lock().unwrap();
        let len = minutes.len().max(minute + 1);
        minutes.resize(len, Minute::new());
        let histogram = minutes[minute].entry(rpc).or_insert_with(histogram);
        histogram.saturating_record(started.elapsed().as_micros() as u64);
    }

    /// Of one RPC over some minutes.
    pub fn over(&self, rpc: Rpc, minutes: std::ops::Range<usize>) -> Histogram<u64> {
        let mut sum = histogram();
        let all = self.minutes.lock().unwrap();
        let within = all.iter().take(minutes.end).skip(minutes.start);
        within
            .filter_map(|minute| minute.get(&rpc))
            .for_each(|one| sum.add(one).expect("equal bounds"));
        sum
    }

    /// Compares the first third of the minutes, without the one that warms up, with the
    /// last. The last may be slower by a factor and some milliseconds: a growing queue
    /// or cost exceeds both, and other load on the machine seldom does.
    pub fn check(&self, minutes: usize) -> SoakCheck {
        const ENOUGH_CALLS: u64 = 100;
        const BOUNDS: [(f64, u64, u64); 2] = [(0.5, 2, 5_000), (0.99, 4, 50_000)];
        let mut check = SoakCheck::new("latency does not climb");
        if minutes < 3 {
            check.figure("not judged: it takes three minutes");
            return check;
        }
        let third = (minutes - 1).div_ceil(3);
        for rpc in RPCS {
            let early = self.over(rpc, 1..1 + third);
            let late = self.over(rpc, minutes - third..minutes);
            if early.len().min(late.len()) < ENOUGH_CALLS {
                continue;
            }
            for (quantile, factor, more) in BOUNDS {
                let (before, after) = (
                    early.value_at_quantile(quantile),
                    late.value_at_quantile(quantile),
                );
                if after > before * factor + more {
                    check.problem(format!(
                        "{rpc:?}: quantile {quantile} rose from {before} to {after} µs"
                    ));
                }
            }
        }
        check
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(100_000_000, 2).expect("valid bounds")
}
