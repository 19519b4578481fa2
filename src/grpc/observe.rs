//! Notes of every call how long it took and how it ended, also of those whose
//! caller went away.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Instant,
};

use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use metrics::Histogram;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::{Code, body::Body};
use tower::{Layer, Service};

use crate::meters;

/// The label of a method that nobody serves: a client may ask for any name.
const OTHER: &str = "_OTHER";
const STATUS_HEADER: &str = "grpc-status";
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

/// Where the calls of one method are noted, by code.
struct Method {
    name: String,
    by_code: [OnceLock<Histogram>; CODES.len()],
}

impl Method {
    fn new(name: String) -> Arc<Self> {
        Arc::new(Self {
            name,
            by_code: Default::default(),
        })
    }

    fn note(&self, code: Code, started: Instant) {
        let index = code as usize;
        if let (Some(noted), Some(name)) = (self.by_code.get(index), CODES.get(index)) {
            noted
                .get_or_init(|| meters::rpc_duration(&self.name, name))
                .record(started.elapsed().as_secs_f64());
        }
    }
}

/// Puts [`Observe`] around a service. Knows the methods by their paths.
#[derive(Clone)]
pub(super) struct ObserveLayer {
    methods: Arc<HashMap<String, Arc<Method>>>,
    other: Arc<Method>,
}

impl ObserveLayer {
    /// For the services in these encoded descriptor sets.
    pub(super) fn new(descriptors: &[&[u8]]) -> Self {
        let methods = descriptors
            .iter()
            .filter_map(|encoded| FileDescriptorSet::decode(*encoded).ok())
            .flat_map(|set| set.file)
            .flat_map(|file| {
                let package = file.package.unwrap_or_default();
                file.service.into_iter().flat_map(move |service| {
                    let service_name = format!("{package}.{}", service.name());
                    let names = service.method.into_iter().map(move |method| {
                        let name = format!("{service_name}/{}", method.name());
                        (format!("/{name}"), Method::new(name))
                    });
                    names.collect::<Vec<_>>()
                })
            })
            .collect();
        Self {
            methods: Arc::new(methods),
            other: Method::new(OTHER.to_owned()),
        }
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Observe {
            inner,
            known: self.clone(),
        }
    }
}

/// A service whose calls are noted.
#[derive(Clone)]
pub(super) struct Observe<S> {
    inner: S,
    known: ObserveLayer,
}

impl<S, B> Service<Request<B>> for Observe<S>
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

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let method = self.known.methods.get(request.uri().path());
        let mut call = Call {
            method: Arc::clone(method.unwrap_or(&self.known.other)),
            started: Instant::now(),
            code: Code::Cancelled,
        };
        let reply = self.inner.call(request);
        Box::pin(async move {
            let reply = reply.await?;
            call.hear(reply.headers());
            Ok(reply.map(|body| Body::new(Observed { body, call })))
        })
    }
}

/// A call under way; noted when it is dropped, which is its end however that
/// comes about.
struct Call {
    method: Arc<Method>,
    started: Instant,
    code: Code,
}

impl Call {
    /// Headers of a reply that is nothing but a status, or trailers.
    fn hear(&mut self, headers: &HeaderMap) {
        if let Some(status) = headers.get(STATUS_HEADER) {
            self.code = Code::from_bytes(status.as_bytes());
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.method.note(self.code, self.started);
    }
}

/// The body of a reply, with the call that it ends.
struct Observed {
    body: Body,
    call: Call,
}

impl http_body::Body for Observed {
    type Data = <Body as http_body::Body>::Data;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let frame = http_body::Body::poll_frame(Pin::new(&mut self.body), context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            self.call.hear(trailers);
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
