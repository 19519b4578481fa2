//! What calls came to, and whether they should have.

use std::{
    collections::BTreeMap,
    error::Error as _,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt as _;

use super::{
    checks::Check,
    faults::{FAULTS, Fault},
    latency::Latencies,
    rpc::{RPCS, Rpc},
    weather::Weather,
    witness::{Slow, Witness, suspects, suspects_of_lack},
};

/// Longer than the server lets any call take.
const PATIENCE: Duration = Duration::from_secs(15);
/// When even the transport's own time-out has failed.
const HANGS: Duration = Duration::from_secs(30);

/// One in so many calls may meet the end of its connection before it is sent.
const MOST_UNSENT: u64 = 10_000;

/// Whether the client's own transport says that it gave the call back unsent. The
/// server saw nothing of it. gRPC wants clients to send such a call again by
/// themselves ("transparent retry"); tonic's does not.
fn never_sent(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            return error.is_canceled();
        }
        cause = error.source();
    }
    false
}

/// How a call is made.
#[derive(Clone, Copy, Debug)]
pub enum Manner {
    Patient,
    /// With so short a deadline.
    Hurried(Duration),
    /// Goes away after so long.
    Leaving(Duration),
    /// With bad input.
    Rubbish,
}

impl Manner {
    pub fn request<M>(self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        request.set_timeout(match self {
            Self::Hurried(deadline) => deadline,
            Self::Patient | Self::Leaving(_) | Self::Rubbish => PATIENCE,
        });
        request
    }
}

/// How calls ended, in the order of the report's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ended {
    Well,
    /// Failed as the fault in force has it.
    Explained,
    /// Was not done within its tiny deadline.
    TooLate,
    /// The caller went away.
    Left,
    /// Bad input, refused.
    Refused,
    /// Never left the client: its connection had just been asked to end.
    Unsent,
    Unexpected,
}

pub const ENDS: [Ended; 7] = [
    Ended::Well,
    Ended::Explained,
    Ended::TooLate,
    Ended::Left,
    Ended::Refused,
    Ended::Unsent,
    Ended::Unexpected,
];

impl Ended {
    pub fn name(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Explained => "failed by a fault",
            Self::TooLate => "past a tiny deadline",
            Self::Left => "left by the caller",
            Self::Refused => "bad input refused",
            Self::Unsent => "never sent",
            Self::Unexpected => "unexpected",
        }
    }
}

/// What a fault explained.
#[derive(Clone, Copy, Default)]
pub struct Toll {
    pub calls: u64,
    /// How long after its end the last of them failed.
    pub latest: Duration,
}

/// What no fault that was played explains.
struct Unexplained {
    rpc: Rpc,
    /// Whether it failed, or only lacked something.
    failed: bool,
    begun: Instant,
    ended: Instant,
    suspects: &'static [Slow],
    what: String,
}

pub struct Observer {
    pub weather: Weather,
    pub witness: Witness,
    pub latencies: Latencies,
    ends: Mutex<BTreeMap<(Rpc, Ended), u64>>,
    tolls: Mutex<BTreeMap<Fault, Toll>>,
    /// Lists that lacked something while a fault was in force.
    degraded: AtomicU64,
    unexplained: Mutex<Vec<Unexplained>>,
    codes: Mutex<Check>,
    answers: Mutex<Check>,
}

impl Observer {
    pub fn new(started: Instant) -> Self {
        Self {
            weather: Weather::default(),
            witness: Witness::default(),
            latencies: Latencies::new(started),
            ends: Mutex::default(),
            tolls: Mutex::default(),
            degraded: AtomicU64::new(0),
            unexplained: Mutex::default(),
            codes: Mutex::new(Check::new("no call fails without a fault that explains it")),
            answers: Mutex::new(Check::new("answers tell what was acknowledged")),
        }
    }

    /// Makes a call, and notes how it ended. `None` if it failed, or was left.
    pub async fn call<T>(
        &self,
        rpc: Rpc,
        manner: Manner,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Option<T> {
        let begun = Instant::now();
        let timeout = match manner {
            Manner::Leaving(after) => after,
            Manner::Patient | Manner::Hurried(_) | Manner::Rubbish => HANGS,
        };
        let result = match tokio::time::timeout(timeout, call).await {
            Ok(result) => result,
            Err(_) if matches!(manner, Manner::Leaving(_)) => {
                self.ended(rpc, Ended::Left);
                return None;
            }
            Err(_) => Err(Status::unknown("it hangs")),
        };
        if self.weather.was_calm_since(begun) && matches!(manner, Manner::Patient) {
            self.latencies.record(rpc, begun, begun.elapsed());
        }
        match (result, manner) {
            (Ok(_), Manner::Rubbish) => {
                self.ended(rpc, Ended::Unexpected);
                let what = format!("{}: bad input was taken", rpc.name());
                self.codes.lock().unwrap().problem(what);
                None
            }
            (Ok(reply), _) => {
                self.ended(rpc, Ended::Well);
                Some(reply.into_inner())
            }
            (Err(status), Manner::Rubbish) if status.code() == Code::InvalidArgument => {
                self.ended(rpc, Ended::Refused);
                None
            }
            // The client's own clock says CANCELLED.
            (Err(status), Manner::Hurried(_))
                if matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled) =>
            {
                self.ended(rpc, Ended::TooLate);
                None
            }
            (Err(status), _) if never_sent(&status) => {
                self.ended(rpc, Ended::Unsent);
                None
            }
            (Err(status), _) => {
                let reason = status.get_details_error_info().map(|info| info.reason);
                let reason = reason.unwrap_or_default();
                self.failed(rpc, begun, status.code(), &reason, status.message());
                None
            }
        }
    }

    /// A call, or an element of one, failed.
    pub fn failed(&self, rpc: Rpc, begun: Instant, code: Code, reason: &str, message: &str) {
        let faults = self.weather.since(begun);
        let cause = faults
            .iter()
            .find(|(fault, _)| fault.explains(rpc, code, reason));
        let Some((fault, ago)) = cause else {
            let faults: Vec<&str> = faults.iter().map(|(fault, _)| fault.name()).collect();
            let what = format!(
                "{} after {:?}: {code:?} {reason} {message:?} while {faults:?}",
                rpc.name(),
                begun.elapsed()
            );
            self.unexplained(rpc, true, begun, suspects(rpc, code, reason), what);
            return;
        };
        self.ended(rpc, Ended::Explained);
        let mut tolls = self.tolls.lock().unwrap();
        let toll = tolls.entry(*fault).or_default();
        toll.calls += 1;
        toll.latest = toll.latest.max(*ago);
    }

    pub fn ended(&self, rpc: Rpc, ended: Ended) {
        *self.ends.lock().unwrap().entry((rpc, ended)).or_default() += 1;
    }

    fn unexplained(
        &self,
        rpc: Rpc,
        failed: bool,
        begun: Instant,
        suspects: &'static [Slow],
        what: String,
    ) {
        self.unexplained.lock().unwrap().push(Unexplained {
            rpc,
            failed,
            begun,
            ended: Instant::now(),
            suspects,
            what,
        });
    }

    /// A list lacked something.
    pub fn lacked(&self, begun: Instant, what: &[String]) {
        if self.weather.was_calm_since(begun) {
            let what = format!("a list lacks {what:?} while all is calm");
            self.unexplained(Rpc::Recommend, false, begun, suspects_of_lack(), what);
        } else {
            self.degraded.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// An answer was not as it must be.
    pub fn wrong(&self, what: String) {
        self.answers.lock().unwrap().problem(what);
    }

    /// Judges what no fault explains. Returns how much of it is explained by a store
    /// that let anyone wait.
    fn excused(&self) -> usize {
        let mut excused = 0;
        for one in self.unexplained.lock().unwrap().drain(..) {
            if self.witness.excuses(one.suspects, one.begun, one.ended) {
                excused += 1;
            } else if one.failed {
                self.ended(one.rpc, Ended::Unexpected);
                self.codes.lock().unwrap().problem(one.what);
            } else {
                self.wrong(one.what);
            }
        }
        excused
    }

    /// How many failures no fault explains, so far.
    pub fn pending(&self) -> usize {
        self.unexplained.lock().unwrap().len()
    }

    pub fn count(&self, rpc: Rpc, ended: Ended) -> u64 {
        self.ends
            .lock()
            .unwrap()
            .get(&(rpc, ended))
            .copied()
            .unwrap_or_default()
    }

    pub fn sum(&self, ended: Ended) -> u64 {
        RPCS.iter().map(|rpc| self.count(*rpc, ended)).sum()
    }

    pub fn toll(&self, fault: Fault) -> Toll {
        self.tolls
            .lock()
            .unwrap()
            .get(&fault)
            .copied()
            .unwrap_or_default()
    }

    pub fn checks(&self) -> [Check; 2] {
        let excused = self.excused();
        let mut codes = self.codes.lock().unwrap().clone();
        let unsent = self.sum(Ended::Unsent);
        if unsent > 1 + self.sum(Ended::Well) / MOST_UNSENT {
            codes.problem(format!("{unsent} calls never left the client"));
        }
        let latest = FAULTS.iter().map(|fault| self.toll(*fault).latest).max();
        codes.figure(format!(
            "{} calls went well, {} failed by a fault, the last of them {:.1} s after its end; {excused} \
             failed or lacked something while the stores let everyone wait, {:.1} s of the run; {unsent} \
             never left the client, whose connection was ending",
            self.sum(Ended::Well),
            self.sum(Ended::Explained),
            latest.unwrap_or_default().as_secs_f64(),
            self.witness.stalled().as_secs_f64(),
        ));
        let mut answers = self.answers.lock().unwrap().clone();
        answers.figure(format!(
            "{} models, {} exports and {} lists were looked at as they came; {} lists said what they \
             lacked for a fault",
            self.count(Rpc::GetUserSignals, Ended::Well),
            self.count(Rpc::ExportUser, Ended::Well),
            self.count(Rpc::Recommend, Ended::Well),
            self.degraded.load(Ordering::Relaxed),
        ));
        [codes, answers]
    }
}
