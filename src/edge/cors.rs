//! Which browser pages of other origins may call the API's port (CORS).
//!
//! An origin that is not allowed gets no CORS header at all, so a browser blocks the
//! reply and sends no request that needs a preflight. tower-http's layer does not
//! fit: it sends its other CORS headers to every origin, and answers every OPTIONS.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
        ORIGIN, VARY,
    },
};
use tonic::body::Body;
use tower::{Layer, Service};

use crate::edge::browser::{BrowserSettings, Origins};

/// Request headers that a page may send.
const ALLOWED_HEADERS: &str = "content-type, x-grpc-web, x-user-agent, grpc-timeout, \
                               authorization, x-api-key, x-tenant-id, x-request-id, \
                               connect-protocol-version, connect-timeout-ms, content-encoding";
/// Response headers that a page may read.
const EXPOSED_HEADERS: &str = "grpc-status, grpc-message, grpc-status-details-bin, \
                               grpc-retry-pushback-ms, x-request-id";

/// How long a browser may cache the reply to a preflight: 10 minutes, in seconds.
const PREFLIGHT_MAX_AGE: &str = "600";

/// Puts [`CorsService`] around a service.
#[derive(Clone)]
pub(crate) struct CorsLayer {
    origins: Arc<Origins>,
}

impl CorsLayer {
    pub(crate) fn new(settings: &BrowserSettings) -> Self {
        let origins = settings.cors_allow_origins.clone();
        Self {
            origins: Arc::new(origins.unwrap_or(Origins::Listed(Vec::new()))),
        }
    }

    /// The `access-control-allow-origin` header of a reply; `None`: the origin is not
    /// allowed.
    fn allowed(&self, request: &HeaderMap) -> Option<HeaderValue> {
        let origin = request.get(ORIGIN)?;
        match &*self.origins {
            Origins::Any => Some(HeaderValue::from_static("*")),
            Origins::Listed(listed) => listed.contains(origin).then(|| origin.clone()),
        }
    }

    /// Adds `vary` and, if the origin is allowed, its headers.
    fn allow(
        &self,
        reply: &mut HeaderMap,
        origin: Option<HeaderValue>,
        others: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
    ) {
        if *self.origins != Origins::Any {
            reply.append(VARY, HeaderName::from_static("origin").into());
        }
        if let Some(origin) = origin {
            reply.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            for (name, value) in others {
                reply.insert(name, value);
            }
        }
    }
}

impl<S> Layer<S> for CorsLayer {
    type Service = CorsService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CorsService {
            inner,
            cors: self.clone(),
        }
    }
}

/// A service that pages of the allowed origins may call.
#[derive(Clone)]
pub(crate) struct CorsService<S> {
    inner: S,
    cors: CorsLayer,
}

impl<S, B> Service<Request<B>> for CorsService<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let headers = request.headers();
        let origin = self.cors.allowed(headers);
        let is_preflight = request.method() == Method::OPTIONS
            && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if is_preflight {
            let mut reply = Response::new(Body::empty());
            *reply.status_mut() = StatusCode::NO_CONTENT;
            let others = [
                (
                    ACCESS_CONTROL_ALLOW_METHODS,
                    HeaderValue::from_static("POST"),
                ),
                (
                    ACCESS_CONTROL_ALLOW_HEADERS,
                    HeaderValue::from_static(ALLOWED_HEADERS),
                ),
                (
                    ACCESS_CONTROL_MAX_AGE,
                    HeaderValue::from_static(PREFLIGHT_MAX_AGE),
                ),
            ];
            self.cors.allow(reply.headers_mut(), origin, others);
            return Box::pin(async move { Ok(reply) });
        }
        let cors = self.cors.clone();
        let reply = self.inner.call(request);
        Box::pin(async move {
            let mut reply = reply.await?;
            let exposed = HeaderValue::from_static(EXPOSED_HEADERS);
            let others = [(ACCESS_CONTROL_EXPOSE_HEADERS, exposed)];
            cors.allow(reply.headers_mut(), origin, others);
            Ok(reply)
        })
    }
}
