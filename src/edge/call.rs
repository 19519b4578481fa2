//! A call, from when it comes in until it has ended: what those who watch are
//! told of it.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use http::{HeaderMap, Request};
use metrics::Histogram;
use opentelemetry::{
    Context, TraceId, propagation::Extractor, propagation::TextMapPropagator as _,
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tonic::Code;
use tracing::{Span, debug, info};

use crate::{
    api::methods::is_free,
    domain::ids::TenantId,
    edge::request_id::RequestId,
    telemetry::{meters, spans, throttle::Throttle},
};

const STATUS_HEADER: &str = "grpc-status";
const PARENT_HEADER: &str = "traceparent";
/// By number.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
/// Log lines of failed calls, of each code in a second.
const FAILURES_PER_SECOND: u32 = 10;
/// The golden ratio's share of 2^64: multiples of it lie evenly.
const SPREAD_STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// A method that is called.
pub(crate) struct Method {
    name: String,
    /// Whether it is one of those who watch: their calls are neither traced nor
    /// told.
    watches: bool,
    by_code: [OnceLock<Histogram>; CODES.len()],
}

impl Method {
    pub(crate) fn new(name: String) -> Arc<Self> {
        Arc::new(Self {
            watches: is_free(&format!("/{name}")),
            name,
            by_code: Default::default(),
        })
    }
}

/// Which calls have a line in the log: those that failed, a few a second, and a
/// share of the others.
pub(crate) struct CallLog {
    /// Of 2^64; `None`: all.
    ok_share: Option<u64>,
    next: AtomicU64,
    failed: [Throttle; CODES.len()],
}

impl CallLog {
    /// With a share, from 0 to 1, of the calls that are OK.
    pub(crate) fn new(ok_share: f64) -> Self {
        Self {
            // Rounds to 0 below 2^-64, and is cut off at the largest.
            ok_share: (ok_share < 1.0).then_some((ok_share * 2_f64.powi(64)) as u64),
            next: AtomicU64::new(0),
            failed: [const { Throttle::allowing(FAILURES_PER_SECOND) }; CODES.len()],
        }
    }

    /// Whether a call is told; then, how many of its code were not before it.
    fn turn(&self, code: Code) -> Option<u64> {
        if code != Code::Ok {
            return self.failed.get(code as usize)?.turn();
        }
        let told = match self.ok_share {
            None => true,
            Some(0) => false,
            Some(share) => {
                let turn = self.next.fetch_add(1, Ordering::Relaxed);
                turn.wrapping_mul(SPREAD_STEP) < share
            }
        };
        told.then_some(0)
    }
}

/// What is found out about a call on its way.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) tenant: OnceLock<TenantId>,
}

/// A call under way; told when it is dropped, which is its end however that
/// comes about.
pub(crate) struct Call {
    method: Arc<Method>,
    started: Instant,
    code: Code,
    pub(crate) id: RequestId,
    notes: Arc<Notes>,
    trace_id: Option<TraceId>,
    pub(crate) span: Span,
    log: Arc<CallLog>,
}

impl Call {
    /// A call that begins now. Its id and its notes go along with its request.
    pub(crate) fn begin<B>(
        method: &Arc<Method>,
        log: &Arc<CallLog>,
        request: &mut Request<B>,
    ) -> Self {
        let started = Instant::now();
        let id = RequestId::of(request.headers());
        let notes = Arc::<Notes>::default();
        let (span, trace_id) = if method.watches {
            (Span::none(), None)
        } else {
            let parent = parent(request.headers());
            let span = spans::call(&method.name, id.as_str(), &parent);
            let trace_id = spans::trace_id(&span, &parent);
            (span, trace_id)
        };
        request.extensions_mut().insert(id.clone());
        request.extensions_mut().insert(Arc::clone(&notes));
        Self {
            method: Arc::clone(method),
            started,
            code: Code::Cancelled,
            id,
            notes,
            trace_id,
            span,
            log: Arc::clone(log),
        }
    }

    /// Headers of a reply that is nothing but a status, or trailers.
    pub(crate) fn hear(&mut self, headers: &HeaderMap) {
        if let Some(status) = headers.get(STATUS_HEADER) {
            self.code = Code::from_bytes(status.as_bytes());
        }
    }

    fn tell(&self, code: &'static str) {
        let tenant = self.notes.tenant.get().map(TenantId::as_str);
        spans::called(&self.span, code, tenant, is_failure(self.code));
        let method = self.method.name.as_str();
        if self.method.watches {
            debug!(method, code, "call of a watcher");
            return;
        }
        let Some(untold) = self.log.turn(self.code) else {
            return;
        };
        let duration_ms = self.started.elapsed().as_micros() as f64 / 1_000.0;
        let request_id = self.id.as_str();
        let trace_id = self.trace_id.map(|id| id.to_string());
        let trace_id = trace_id.as_deref();
        let untold = (untold > 0).then_some(untold);
        info!(
            method,
            code, duration_ms, request_id, trace_id, tenant, untold, "call"
        );
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let index = self.code as usize;
        if let (Some(noted), Some(code)) = (self.method.by_code.get(index), CODES.get(index)) {
            noted
                .get_or_init(|| meters::rpc_duration(&self.method.name, code))
                .record(self.started.elapsed().as_secs_f64());
            self.tell(code);
        }
    }
}

/// Whether a code says that the server failed, and not its caller.
fn is_failure(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

/// The span that a caller names as that of its own.
fn parent(headers: &HeaderMap) -> Context {
    if !headers.contains_key(PARENT_HEADER) {
        return Context::new();
    }
    TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers))
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use opentelemetry::trace::TraceContextExt as _;
    use tonic::Code;

    use super::{CallLog, FAILURES_PER_SECOND, parent};

    #[test]
    fn the_share_of_ok_calls_is_told_evenly() {
        for (share, most_apart) in [(0.01, 150), (0.25, 6), (1.0, 1)] {
            let log = CallLog::new(share);
            let told: Vec<usize> = (0..10_000)
                .filter(|_| log.turn(Code::Ok).is_some())
                .collect();
            let wanted = share * 10_000.0;
            assert!((told.len() as f64 - wanted).abs() < 3.0, "{share}");
            let apart = told.windows(2).map(|pair| pair[1] - pair[0]).max();
            assert!(apart <= Some(most_apart), "{share}: {apart:?}");
        }
        let log = CallLog::new(0.0);
        assert!((0..10_000).all(|_| log.turn(Code::Ok).is_none()));
    }

    #[test]
    fn failed_calls_are_bounded_by_code() {
        let log = CallLog::new(0.0);
        let told = (0..1_000).filter(|_| log.turn(Code::NotFound).is_some());
        let told = told.count();
        // All in one second, or about the turn of it.
        assert!(told >= FAILURES_PER_SECOND as usize && told < 500, "{told}");
        assert_eq!(log.turn(Code::Internal), Some(0), "another code");
    }

    #[test]
    fn a_parent_is_taken_from_a_sound_header_alone() {
        let trace_id = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", text.parse().unwrap());
            let parent = parent(&headers);
            let told = parent.span().span_context().clone();
            told.is_valid()
                .then(|| (told.trace_id().to_string(), told.is_sampled()))
        };
        let known = "0af7651916cd43dd8448eb211c80319c";
        for (flags, sampled) in [("00", false), ("01", true)] {
            let text = format!("00-{known}-b7ad6b7169203331-{flags}");
            assert_eq!(trace_id(&text), Some((known.to_owned(), sampled)));
        }
        for odd in [
            "",
            "nonsense",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(trace_id(odd), None, "{odd}");
        }
    }
}
