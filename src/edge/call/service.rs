//! Records every call: how long it took and how it ended, also if the client
//! cancelled it. Returns the call's id to the client.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::{Code, body::Body};
use tower::{Layer, Service};
use tracing::{Instrument as _, Span};

use crate::edge::{
    access::Access,
    call::{
        latencies::MethodLatencies,
        log::CallLog,
        record::{CallRecord, MethodMetrics},
        request_id::HEADER,
    },
    methods::{MethodKind, Methods},
};

/// The label of all methods that are not served: a client may call any path.
const OTHER: &str = "_OTHER";

/// Puts [`RecordedCalls`] around a service.
#[derive(Clone)]
pub(crate) struct CallLayer {
    by_path: Arc<HashMap<&'static str, Arc<MethodMetrics>>>,
    other: Arc<MethodMetrics>,
    log: Arc<CallLog>,
    access: Arc<Access>,
}

impl CallLayer {
    /// Callers that this access knows decide whether their calls are traced.
    pub(crate) fn new(methods: Methods, log: CallLog, access: Arc<Access>) -> Self {
        Self::with(methods, log, access, false)
    }

    /// As [`CallLayer::new`], with [`CallLayer::latencies`].
    pub(crate) fn keeping_latencies(methods: Methods, log: CallLog, access: Arc<Access>) -> Self {
        Self::with(methods, log, access, true)
    }

    fn with(methods: Methods, log: CallLog, access: Arc<Access>, keeps_latencies: bool) -> Self {
        let metrics = methods.0.iter().map(|method| {
            let name = method.path.trim_start_matches('/');
            let is_free = method.kind.roles().is_none();
            // A stream lasts for as long as its client wants.
            let is_unary = matches!(method.kind, MethodKind::Unary(_));
            let metrics = MethodMetrics::new(name, is_free, keeps_latencies && is_unary);
            (method.path, metrics)
        });
        Self {
            by_path: Arc::new(metrics.collect()),
            other: MethodMetrics::new(OTHER, false, keeps_latencies),
            log: Arc::new(log),
            access,
        }
    }

    /// What was counted of each unary method that was called, by name.
    pub(crate) fn latencies(&self) -> Vec<MethodLatencies> {
        let methods = self.by_path.values().chain([&self.other]);
        let mut all: Vec<_> = methods.filter_map(|method| method.latencies()).collect();
        all.sort_by(|a, b| a.method.cmp(&b.method));
        all
    }

    /// A call that starts now and that no service behind this layer answers. Dropping it
    /// records it as cancelled.
    pub(crate) fn start<B>(&self, request: &mut Request<B>) -> StartedCall {
        let method = self.by_path.get(request.uri().path());
        let method = method.unwrap_or(&self.other);
        StartedCall(CallRecord::start(method, &self.log, &self.access, request))
    }
}

/// A call that was started by [`CallLayer::start`].
pub(crate) struct StartedCall(CallRecord);

impl StartedCall {
    pub(crate) fn span(&self) -> Span {
        self.0.span.clone()
    }

    /// Records the call with the code of its reply, which gets the call's id.
    pub(crate) fn finish(mut self, code: Code, reply: &mut HeaderMap) {
        self.0.set_code(code);
        reply.insert(HEADER, self.0.id.header());
    }
}

impl<S> Layer<S> for CallLayer {
    type Service = RecordedCalls<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RecordedCalls {
            inner,
            layer: self.clone(),
        }
    }
}

/// A service whose calls are recorded.
#[derive(Clone)]
pub(crate) struct RecordedCalls<S> {
    inner: S,
    layer: CallLayer,
}

impl<S, B> Service<Request<B>> for RecordedCalls<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let StartedCall(mut record) = self.layer.start(&mut request);
        let span = record.span.clone();
        let reply = span.in_scope(|| self.inner.call(request)).instrument(span);
        Box::pin(async move {
            let mut reply = reply.await?;
            record.read_status(reply.headers());
            reply.headers_mut().insert(HEADER, record.id.header());
            Ok(reply.map(|body| Body::new(RecordedBody { body, record })))
        })
    }
}

/// The body of a reply; its end is the end of the call.
struct RecordedBody {
    body: Body,
    record: CallRecord,
}

impl HttpBody for RecordedBody {
    type Data = <Body as HttpBody>::Data;
    type Error = <Body as HttpBody>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            self.record.read_status(trailers);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
