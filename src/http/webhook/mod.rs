//! The webhook's port: deliveries of RudderStack and Segment over HTTP. They pass the
//! same guard as calls of the API; refusals are written as JSON.

mod body;
mod commerce;
mod credentials;
mod delivery;
mod element;
pub mod elements;
mod error;
mod item_ids;
mod json_cost;
pub mod mapping;
mod merges;
mod paths;
mod reply;
mod report;
mod settings;

use std::{convert::Infallible, sync::Arc};

use http::{Method, Request, Response};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tonic::body::Body;
use tower::{Layer as _, Service, ServiceExt as _, service_fn};

use crate::{
    api::limits::Limits,
    edge::{
        access::Access,
        budget::Load,
        call::{REQUEST_ID_HEADER, RequestId},
        guard::Guard,
        load::FreeCalls,
        methods::{self, Methods},
        settings::ServerSettings,
        tenants::{Role, SharedSecret},
        tls::Tls,
    },
    http::open_port::{ClosedPort, OpenPort},
    telemetry::meters::{self, HttpRequest, Refused},
};
use error::WebhookError;

pub use {
    element::{Element, SkipReason},
    settings::WebhookSettings,
};

/// Most connections: there are few senders.
pub const MAX_CONNECTIONS: usize = 1_024;
/// The paths of the senders. All have the same format.
const METHODS: Methods = Methods(&[
    methods::Method::unary("/v1/webhooks/rudderstack", &[Role::Ingest]),
    methods::Method::unary("/v1/webhooks/segment", &[Role::Ingest]),
]);
/// The HTTP methods of a sender's path.
const ALLOWED: &str = "GET, HEAD, POST";

/// The webhook, before it is served.
pub struct Webhook {
    /// Its port.
    pub listener: TcpListener,
    /// TLS of its connections; `None`: plaintext.
    pub tls: Option<Arc<Tls>>,
    /// The secret that deliveries must have if there are no keys.
    pub secret: Option<SharedSecret>,
    /// Whether deliveries may merge users.
    pub merges_users: bool,
}

impl Webhook {
    /// Serves deliveries until the connections are closed. They share the limits on
    /// load with the API.
    pub(crate) fn open(
        self,
        access: Arc<Access>,
        load: Arc<Load>,
        limits: Arc<Limits>,
        settings: &ServerSettings,
    ) -> OpenPort {
        let guard = Guard {
            methods: METHODS,
            access: Some(access),
            load: Arc::clone(&load),
            free: FreeCalls::new(&load),
            timeout: settings.request_timeout,
            protocol: &reply::JsonHttp,
        };
        let merges_users = self.merges_users;
        let handler = service_fn(move |request| handle(request, Arc::clone(&limits), merges_users));
        let guarded = guard.layer(handler);
        let secret = self.secret;
        let service = service_fn(move |request| answer(request, guarded.clone(), secret.clone()));
        let port = ClosedPort {
            name: "webhook",
            listener: self.listener,
            tls: self.tls,
            max_connections: MAX_CONNECTIONS,
        };
        port.open(service, load, settings)
    }
}

/// Answers a request: checks path, method and secret, then passes it to the guard.
/// Adds the request id and records the metric.
async fn answer<S>(
    mut request: Request<Incoming>,
    guarded: S,
    secret: Option<SharedSecret>,
) -> Result<Response<Body>, Infallible>
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
{
    let mut metric = HttpRequest::begin();
    let id = RequestId::of(request.headers());
    let mut reply = match check(&mut request, secret.as_ref()) {
        Ok(()) => guarded.oneshot(request).await?,
        Err(error) => reply::of_error(&error),
    };
    reply.headers_mut().insert(REQUEST_ID_HEADER, id.header());
    metric.answered(reply.status().as_u16());
    Ok(reply)
}

fn check(
    request: &mut Request<Incoming>,
    secret: Option<&SharedSecret>,
) -> Result<(), WebhookError> {
    let path = request.uri().path();
    if !METHODS.0.iter().any(|method| method.path == path) {
        return Err(WebhookError::NotFound);
    }
    if ![Method::GET, Method::HEAD, Method::POST].contains(request.method()) {
        return Err(WebhookError::MethodNotAllowed(ALLOWED));
    }
    credentials::basic_to_bearer(request.headers_mut());
    if let Some(secret) = secret
        && !credentials::has_secret(request.headers(), secret)
    {
        meters::refused(Refused::Key);
        return Err(WebhookError::UnknownSecret);
    }
    Ok(())
}

async fn handle(
    request: Request<Body>,
    limits: Arc<Limits>,
    merges_users: bool,
) -> Result<Response<Body>, Infallible> {
    if *request.method() != Method::POST {
        return Ok(reply::ok());
    }
    Ok(
        match delivery::ingest(request, limits, merges_users).await {
            Ok(report) => reply::of_report(&report),
            Err(error) => reply::of_error(&error),
        },
    )
}
