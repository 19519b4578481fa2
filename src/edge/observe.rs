//! Tells of every call how long it took and how it ended, also of those whose
//! caller went away; and tells the caller the call's id.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::{Frame, SizeHint};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::body::Body;
use tower::{Layer, Service};
use tracing::Instrument as _;

use crate::edge::{
    call::{Call, CallLog, Method},
    request_id,
};

/// The label of a method that nobody serves: a client may ask for any name.
const OTHER: &str = "_OTHER";

/// Puts [`Observe`] around a service. Knows the methods by their paths.
#[derive(Clone)]
pub(crate) struct ObserveLayer {
    methods: Arc<HashMap<String, Arc<Method>>>,
    other: Arc<Method>,
    log: Arc<CallLog>,
}

impl ObserveLayer {
    /// For the services in these encoded descriptor sets.
    pub(crate) fn new(descriptors: &[&[u8]], log: CallLog) -> Self {
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
            log: Arc::new(log),
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
pub(crate) struct Observe<S> {
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

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let method = self.known.methods.get(request.uri().path());
        let method = method.unwrap_or(&self.known.other);
        let mut call = Call::begin(method, &self.known.log, &mut request);
        let span = call.span.clone();
        let reply = span.in_scope(|| self.inner.call(request)).instrument(span);
        Box::pin(async move {
            let mut reply = reply.await?;
            call.hear(reply.headers());
            reply
                .headers_mut()
                .insert(request_id::HEADER, call.id.header());
            Ok(reply.map(|body| Body::new(Observed { body, call })))
        })
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
