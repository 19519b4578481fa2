//! The metric, span and log line of a call.

use std::{
    sync::{Arc, OnceLock},
    time::Instant,
};

use http::{HeaderMap, Request};
use metrics::Histogram;
use opentelemetry::{
    Context, TraceId, propagation::Extractor, propagation::TextMapPropagator as _,
    trace::TraceContextExt as _,
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tonic::Code;
use tracing::{Span, debug, info};

use crate::{
    edge::{
        access::Access,
        call::{
            context::CallContext,
            latencies::{Latencies, MethodLatencies},
            log::{CODES, CallLog},
            request_id::RequestId,
        },
    },
    telemetry::{meters, spans},
};

const STATUS_HEADER: &str = "grpc-status";
const PARENT_HEADER: &str = "traceparent";

/// The latency histograms of a method.
pub(crate) struct MethodMetrics {
    name: String,
    /// Calls of a health check or reflection are neither traced nor logged as calls.
    is_free: bool,
    by_code: [OnceLock<Histogram>; CODES.len()],
    /// `None`: the console is off.
    latencies: Option<Latencies>,
}

impl MethodMetrics {
    pub(crate) fn new(name: &str, is_free: bool, keeps_latencies: bool) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            is_free,
            by_code: Default::default(),
            latencies: keeps_latencies.then(Latencies::new),
        })
    }

    /// What was counted, if latencies are kept and there was a call.
    pub(crate) fn latencies(&self) -> Option<MethodLatencies> {
        self.latencies.as_ref()?.of_method(&self.name)
    }
}

/// A call in progress. It is recorded when this is dropped, also if the client
/// cancelled it.
pub(crate) struct CallRecord {
    method: Arc<MethodMetrics>,
    started: Instant,
    code: Code,
    pub(crate) id: RequestId,
    context: CallContext,
    trace_id: Option<TraceId>,
    pub(crate) span: Span,
    log: Arc<CallLog>,
}

impl CallRecord {
    /// A call that starts now. Adds its id and its [`CallContext`] to the request.
    pub(crate) fn start<B>(
        method: &Arc<MethodMetrics>,
        log: &Arc<CallLog>,
        access: &Access,
        request: &mut Request<B>,
    ) -> Self {
        let started = Instant::now();
        let id = RequestId::of(request.headers());
        let context = CallContext::default();
        let (span, trace_id) = if method.is_free {
            (Span::none(), None)
        } else {
            let parent = parent(request.headers());
            // Whoever is not known cannot have a call traced.
            let trusted = if is_sampled(&parent) && !access.knows(request.headers()) {
                &Context::new()
            } else {
                &parent
            };
            let span = spans::call(&method.name, id.as_str(), trusted);
            let trace_id = spans::trace_id(&span, &parent);
            (span, trace_id)
        };
        request.extensions_mut().insert(id.clone());
        request.extensions_mut().insert(context.clone());
        Self {
            method: Arc::clone(method),
            started,
            code: Code::Cancelled,
            id,
            context,
            trace_id,
            span,
            log: Arc::clone(log),
        }
    }

    /// Takes the status from the headers of a reply or from its trailers.
    pub(crate) fn read_status(&mut self, headers: &HeaderMap) {
        if let Some(status) = headers.get(STATUS_HEADER) {
            self.code = Code::from_bytes(status.as_bytes());
        }
    }

    pub(crate) fn set_code(&mut self, code: Code) {
        self.code = code;
    }

    fn log(&self, code: &'static str) {
        let tenant = self.context.tenant();
        spans::called(&self.span, code, tenant, is_failure(self.code));
        let method = self.method.name.as_str();
        if self.method.is_free {
            debug!(method, code, "call of a watcher");
            return;
        }
        let Some(suppressed) = self.log.sample(self.code) else {
            return;
        };
        let duration_ms = self.started.elapsed().as_micros() as f64 / 1_000.0;
        let request_id = self.id.as_str();
        let trace_id = self.trace_id.map(|id| id.to_string());
        let trace_id = trace_id.as_deref();
        let suppressed = (suppressed > 0).then_some(suppressed);
        info!(
            method,
            code, duration_ms, request_id, trace_id, tenant, suppressed, "call"
        );
    }
}

impl Drop for CallRecord {
    fn drop(&mut self) {
        let index = self.code as usize;
        if let (Some(histogram), Some(code)) = (self.method.by_code.get(index), CODES.get(index)) {
            let took = self.started.elapsed();
            histogram
                .get_or_init(|| meters::rpc_duration(&self.method.name, code))
                .record(took.as_secs_f64());
            if let Some(latencies) = &self.method.latencies {
                latencies.record(took, self.code != Code::Ok);
            }
            self.log(code);
        }
    }
}

/// Whether a code means that the server failed, not its client.
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

/// The span of the client, from the `traceparent` header.
fn parent(headers: &HeaderMap) -> Context {
    if !headers.contains_key(PARENT_HEADER) {
        return Context::new();
    }
    TraceContextPropagator::new().extract_with_context(&Context::new(), &TraceHeaders(headers))
}

/// Whether the client asks for its calls to be traced.
fn is_sampled(parent: &Context) -> bool {
    parent.span().span_context().is_sampled()
}

struct TraceHeaders<'a>(&'a HeaderMap);

impl Extractor for TraceHeaders<'_> {
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

    use super::parent;

    #[test]
    fn a_parent_is_read_from_a_valid_header_alone() {
        let trace_id = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("traceparent", text.parse().unwrap());
            let parent = parent(&headers);
            let context = parent.span().span_context().clone();
            context
                .is_valid()
                .then(|| (context.trace_id().to_string(), context.is_sampled()))
        };
        let known = "0af7651916cd43dd8448eb211c80319c";
        for (flags, sampled) in [("00", false), ("01", true)] {
            let text = format!("00-{known}-b7ad6b7169203331-{flags}");
            assert_eq!(trace_id(&text), Some((known.to_owned(), sampled)));
        }
        for invalid in [
            "",
            "nonsense",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(trace_id(invalid), None, "{invalid}");
        }
    }
}
