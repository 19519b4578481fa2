//! The spans of traces. [`crate::telemetry::Traces`] exports them.
//!
//! Whether a call is traced is decided once, when it is received. A call that is not
//! traced opens no spans.
//!
//! No span holds a user id, a key of a store or the contents of an event.

use std::sync::OnceLock;

use opentelemetry::{
    Context, TraceId,
    trace::{SpanContext, TraceContextExt as _},
};
use tracing::{Span, field::Empty, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The target of all spans.
pub const TARGET: &str = "recsys::span";
/// Largest number of links of a span.
const MAX_LINKS: usize = 32;

/// Whether a call is traced, given its caller's trace context.
type Sample = Box<dyn Fn(&Context) -> bool + Send + Sync>;

static SAMPLE: OnceLock<Sample> = OnceLock::new();

/// Traces the calls that `sample` selects from now on.
pub(crate) fn start(sample: impl Fn(&Context) -> bool + Send + Sync + 'static) {
    let _ = SAMPLE.set(Box::new(sample));
}

/// The span of a received call, a child of its caller's span.
#[must_use]
pub fn call(method: &str, request_id: &str, parent: &Context) -> Span {
    if !SAMPLE.get().is_some_and(|sample| sample(parent)) {
        return Span::none();
    }
    let span = info_span!(
        target: TARGET,
        parent: None,
        "call",
        otel.name = method,
        otel.kind = "server",
        otel.status_code = Empty,
        rpc.system.name = "grpc",
        rpc.method = method,
        rpc.response.status_code = Empty,
        "error.type" = Empty,
        recsys.request_id = request_id,
        recsys.tenant = Empty,
    );
    let _ = span.set_parent(parent.clone());
    span
}

/// The trace of a span, or else of the caller.
#[must_use]
pub fn trace_id(span: &Span, parent: &Context) -> Option<TraceId> {
    let id = |of: &SpanContext| of.is_valid().then(|| of.trace_id());
    if span.is_none() {
        return id(parent.span().span_context());
    }
    id(span.context().span().span_context())
}

/// Records the result of a call; `failed`: the server is at fault.
pub fn called(span: &Span, code: &'static str, tenant: Option<&str>, failed: bool) {
    if span.is_none() {
        return;
    }
    span.record("rpc.response.status_code", code);
    if let Some(tenant) = tenant {
        span.record("recsys.tenant", tenant);
    }
    if code != "OK" {
        span.record("error.type", code);
    }
    if failed {
        span.record("otel.status_code", "ERROR");
    }
}

fn is_traced() -> bool {
    SAMPLE.get().is_some() && !Span::current().is_none()
}

/// A step of the current span.
#[must_use]
pub fn step(name: &'static str) -> Span {
    if !is_traced() {
        return Span::none();
    }
    info_span!(target: TARGET, "step", otel.name = name)
}

/// An operation of a store.
#[must_use]
pub fn store(system: &'static str, operation: &'static str) -> Span {
    if !is_traced() {
        return Span::none();
    }
    info_span!(
        target: TARGET,
        "store",
        otel.name = operation,
        otel.kind = "client",
        otel.status_code = Empty,
        db.system.name = system,
        db.operation.name = operation,
        "error.type" = Empty,
    )
}

/// Records that an operation of a store failed.
pub fn failed(span: &Span, error_type: &'static str) {
    if span.is_none() {
        return;
    }
    span.record("error.type", error_type);
    span.record("otel.status_code", "ERROR");
}

/// A span that causes later work. Unlike the span itself, it can be kept without
/// delaying the span's end.
#[derive(Clone, Debug)]
pub struct Cause(Context);

impl Cause {
    /// The current span; `None` if it is not traced.
    #[must_use]
    pub fn current() -> Option<Self> {
        is_traced().then(|| Self(Span::current().context()))
    }
}

/// Work that may outlive its causes: a child of the first cause, linked to the others.
#[must_use]
pub fn apart<'a>(name: &'static str, causes: impl IntoIterator<Item = &'a Cause>) -> Span {
    let mut causes = causes.into_iter();
    let Some(first) = causes.next() else {
        return Span::none();
    };
    let span = info_span!(target: TARGET, parent: None, "work", otel.name = name);
    let _ = span.set_parent(first.0.clone());
    for other in causes.take(MAX_LINKS) {
        span.add_link(other.0.span().span_context().clone());
    }
    span
}
