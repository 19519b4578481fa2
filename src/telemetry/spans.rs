//! Spans of traces, for whichever room does something that takes time. Where
//! they go to is not known here (see [`crate::telemetry`]).
//!
//! Whether a call is traced is decided once, when it comes in. Of one that is
//! not, or if nothing is traced at all, there are no spans to pay for.
//!
//! No span holds a user's id, a key of a store or the contents of an event.

use std::sync::OnceLock;

use opentelemetry::{
    Context, TraceId,
    trace::{SpanContext, TraceContextExt as _},
};
use tracing::{Span, field::Empty, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The target of all spans.
pub const TARGET: &str = "recsys::span";
/// Most work that others asked for, too, with which a span is linked.
const MAX_LINKS: usize = 32;

/// Whether a call is traced, by what its caller says of its own trace.
type Decide = Box<dyn Fn(&Context) -> bool + Send + Sync>;

static DECIDE: OnceLock<Decide> = OnceLock::new();

/// From now on calls are traced of which this says so.
pub(crate) fn start(decide: impl Fn(&Context) -> bool + Send + Sync + 'static) {
    let _ = DECIDE.set(Box::new(decide));
}

/// The span of a call that comes in, under the one that its caller names.
#[must_use]
pub fn call(method: &str, request_id: &str, parent: &Context) -> Span {
    if !DECIDE.get().is_some_and(|decide| decide(parent)) {
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

/// The trace that a span is of, or that a call's caller names.
#[must_use]
pub fn trace_id(span: &Span, parent: &Context) -> Option<TraceId> {
    let id = |of: &SpanContext| of.is_valid().then(|| of.trace_id());
    if span.is_none() {
        return id(parent.span().span_context());
    }
    id(span.context().span().span_context())
}

/// How a call has ended; `failed`: by no fault of its caller.
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
    DECIDE.get().is_some() && !Span::current().is_none()
}

/// A step of what the current span is of.
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

/// An operation of a store has failed.
pub fn failed(span: &Span, error_type: &'static str) {
    if span.is_none() {
        return;
    }
    span.record("error.type", error_type);
    span.record("otel.status_code", "ERROR");
}

/// What some work is done for. Unlike a span, it can be kept: it holds up the
/// end of none.
#[derive(Clone, Debug)]
pub struct Cause(Context);

impl Cause {
    /// The current span; `None` if nothing is traced here.
    #[must_use]
    pub fn current() -> Option<Self> {
        is_traced().then(|| Self(Span::current().context()))
    }
}

/// Work that may outlive what it is done for: a span under the first cause, and
/// linked with the others.
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
