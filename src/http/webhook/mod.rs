//! The webhook's port: deliveries of RudderStack and Segment over HTTP. They go
//! through the same doors as calls of the API: keys, tenants, quotas, load,
//! deadlines; what these say is translated on the way out.

mod body;
mod credentials;
mod delivery;
pub mod elements;
pub mod mapping;
mod reply;
mod settings;

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderValue, Method, Request, Response};
use hyper::body::Incoming;
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{Status, body::Body};
use tower::{Layer as _, Service, service_fn};
use uuid::Uuid;

use crate::{
    api::limits::Limits,
    edge::{
        access::{Access, AccessLayer, WEBHOOKS},
        connections::{Connections, Policy},
        deadline::DeadlineLayer,
        load::{Load, LoadLayer},
        panics::CatchPanicLayer,
        settings::ServerSettings,
        tenants::SharedSecret,
        tls::Tls,
    },
    telemetry::meters::{self, HttpRequest, Refused},
};
use reply::Refusal;

pub use settings::WebhookSettings;

/// Connections at once: those who deliver are few.
pub const MAX_CONNECTIONS: usize = 1_024;
/// Who delivers what: all send the same.
const SENDERS: [&str; 2] = ["rudderstack", "segment"];
const REQUEST_ID: &str = "x-request-id";
/// Longest name of a request that is sent back as it came.
const MAX_REQUEST_ID_BYTES: usize = 128;
/// What may be done at a sender's path.
const METHODS: &str = "GET, HEAD, POST";

/// Where deliveries come in.
pub struct Webhook {
    /// The port, listened on.
    pub listener: TcpListener,
    /// How its connections are secured; `None`: not at all.
    pub tls: Option<Arc<Tls>>,
    /// What a delivery must carry where there are no keys.
    pub secret: Option<SharedSecret>,
}

/// A webhook that takes deliveries.
pub(crate) struct Open {
    /// Its connections.
    pub(crate) connections: Arc<Connections>,
    /// Ends when they are closed.
    pub(crate) accepting: JoinHandle<()>,
}

impl Webhook {
    /// Takes deliveries until its connections are closed. They count as calls of
    /// the API do.
    pub(crate) fn open(
        self,
        access: Arc<Access>,
        load: Arc<Load>,
        limits: Arc<Limits>,
        settings: &ServerSettings,
    ) -> Open {
        let service = service_fn(move |request| answer(request, Arc::clone(&limits)));
        let service = CatchPanicLayer.layer(service);
        let service = DeadlineLayer {
            longest: settings.request_timeout,
        }
        .layer(service);
        let service = LoadLayer(load).layer(service);
        let service = Doors {
            inner: AccessLayer(access).layer(service),
            secret: self.secret,
        };
        let connections = Connections::new(
            Policy {
                port: "webhook",
                most: MAX_CONNECTIONS.min(settings.max_connections),
                age: settings.max_connection_age,
                grace: settings.request_timeout + settings.slow_client_timeout,
                slow_client_timeout: settings.slow_client_timeout,
                http1: true,
            },
            self.tls,
        );
        let accepting = Arc::clone(&connections).accept(self.listener, service);
        Open {
            connections,
            accepting: tokio::spawn(accepting),
        }
    }
}

async fn answer(request: Request<Body>, limits: Arc<Limits>) -> Result<Response<Body>, Infallible> {
    let answered = match *request.method() {
        Method::POST => delivery::take(request, limits).await,
        _ => Ok(reply::welcome()),
    };
    Ok(answered.unwrap_or_else(|refusal| refusal.reply()))
}

/// Who comes here, for what, and how it is told.
#[derive(Clone)]
struct Doors<S> {
    inner: S,
    secret: Option<SharedSecret>,
}

impl<S> Doors<S> {
    fn judge(&self, request: &mut Request<Incoming>) -> Result<(), Refusal> {
        let sender = request.uri().path().strip_prefix(WEBHOOKS);
        if !sender.is_some_and(|sender| SENDERS.contains(&sender)) {
            return Err(Refusal::Path);
        }
        if ![Method::GET, Method::HEAD, Method::POST].contains(request.method()) {
            return Err(Refusal::Method(METHODS));
        }
        credentials::spell_basic_as_bearer(request.headers_mut());
        if let Some(secret) = &self.secret
            && !credentials::carries(request.headers(), secret)
        {
            meters::refused(Refused::Key);
            return Err(Refusal::Secret);
        }
        Ok(())
    }
}

impl<S> Service<Request<Incoming>> for Doors<S>
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Incoming>) -> Self::Future {
        let mut noted = HttpRequest::begin();
        let id = request_id(&request);
        let answer = match self.judge(&mut request) {
            Ok(()) => Ok(self.inner.call(request)),
            Err(refusal) => Err(refusal),
        };
        Box::pin(async move {
            let mut reply = match answer {
                Ok(answer) => over_http(answer.await?),
                Err(refusal) => refusal.reply(),
            };
            reply.headers_mut().insert(REQUEST_ID, id);
            noted.answered(reply.status().as_u16());
            Ok(reply)
        })
    }
}

/// What the doors of the API say, they say as gRPC does.
fn over_http(reply: Response<Body>) -> Response<Body> {
    match Status::from_header_map(reply.headers()) {
        Some(status) => reply::of_status(&status),
        None => reply,
    }
}

/// The sender's name for the request, or one of our own.
fn request_id(request: &Request<Incoming>) -> HeaderValue {
    let given = request.headers().get(REQUEST_ID);
    let plain = |id: &&HeaderValue| {
        let bytes = id.as_bytes();
        (1..=MAX_REQUEST_ID_BYTES).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    };
    given.filter(plain).cloned().unwrap_or_else(|| {
        let id = Uuid::new_v4().to_string();
        HeaderValue::from_str(&id).unwrap_or_else(|_| HeaderValue::from_static("none"))
    })
}
