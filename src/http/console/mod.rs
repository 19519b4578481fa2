//! The console: a page for the owners of the lists, and what it asks for.
//!
//! Its calls of the API pass the layers of the API's port. Requests must come from the
//! page itself: other sites can neither read replies nor cause calls.

mod assets;
mod audit;
mod connect;
mod data;
mod explanation;
mod health;
mod invalid;
mod origin;
mod paths;
mod ranking;
mod reply;
mod sessions;
mod settings;
mod views;

use std::{convert::Infallible, sync::Arc, time::Instant};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, AUTHORIZATION, RETRY_AFTER, SET_COOKIE},
    request::Parts,
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tonic::{Code, Status, body::Body};
use tower::{Layer as _, ServiceExt as _, service_fn, util::BoxCloneSyncService};
use tracing::Instrument as _;

use crate::{
    api::{connect::error_reply, limits::Limits, status::Grpc},
    edge::{
        access::Access,
        budget::Load,
        call::{CallLayer, CallLog},
        guard::Guard,
        load::FreeCalls,
        settings::ServerSettings,
        tenants::Role,
        tls::Tls,
    },
    http::open_port::{ClosedPort, OpenPort},
};
use assets::Asset;
use audit::Audit;
use connect::ApiService;
use paths::{LOGIN, LOGOUT, METHODS, SESSION};
use sessions::Sessions;
use views::Views;

pub(crate) use explanation::explanation;
pub use settings::ConsoleSettings;

/// Most connections: there are few visitors.
pub const MAX_CONNECTIONS: usize = 256;
/// Largest request: a form.
const MAX_REQUEST_BYTES: usize = 1 << 20;
/// The header that the page sends. Pages of other sites cannot, without a preflight that
/// is not answered.
const PAGE: &str = "x-recsys-console";

/// The API, as the console calls it.
pub(crate) struct ConsoleApi {
    /// Behind all layers of its port.
    pub(crate) service: ApiService,
    /// The layer that records its calls.
    pub(crate) calls: CallLayer,
    pub(crate) limits: Arc<Limits>,
}

/// The console, before it is served.
pub struct Console {
    /// Its port.
    pub listener: TcpListener,
    /// TLS of its connections; `None`: plaintext.
    pub tls: Option<Arc<Tls>>,
    /// Users that the page offers to look at.
    pub example_users: Vec<String>,
    /// The API's URL, for calls that are copied from the page.
    pub api_url: String,
}

/// What requests are answered with.
struct State {
    access: Arc<Access>,
    api: ApiService,
    views: ViewService,
    /// Records requests that the console answers itself.
    calls: CallLayer,
    sessions: Sessions,
    audit: Audit,
    is_tls: bool,
    example_users: Vec<String>,
    api_url: String,
}

type ViewService = BoxCloneSyncService<Request<Full<Bytes>>, Response<Body>, Infallible>;

/// The session of a request: the header with which its calls are made, and its tenant.
type SessionKey = (HeaderValue, Option<String>);

impl Console {
    /// Serves the page until the connections are closed. Its calls share the limits on
    /// load with the API.
    pub(crate) fn open(
        self,
        access: Arc<Access>,
        load: Arc<Load>,
        api: ConsoleApi,
        settings: &ServerSettings,
    ) -> OpenPort {
        for engine in access.engines() {
            engine.count_activity();
        }
        let now = Instant::now();
        let guard = Guard {
            methods: METHODS,
            access: Some(Arc::clone(&access)),
            load: Arc::clone(&load),
            free: FreeCalls::new(&load),
            timeout: settings.request_timeout,
            protocol: &Grpc,
        };
        let views = Arc::new(Views {
            access: Arc::clone(&access),
            calls: api.calls,
            limits: api.limits,
            started: now,
        });
        let views = service_fn(move |request| answer_view(request, Arc::clone(&views)));
        let log = CallLog::new(settings.log_ok_calls);
        let state = Arc::new(State {
            calls: CallLayer::new(METHODS, log, Arc::clone(&access)),
            access,
            api: api.service,
            views: BoxCloneSyncService::new(guard.layer(views)),
            sessions: Sessions::new(now),
            audit: Audit::new(),
            is_tls: self.tls.is_some(),
            example_users: self.example_users,
            api_url: self.api_url,
        });
        let service = service_fn(move |request| {
            let state = Arc::clone(&state);
            async move {
                let mut reply = answer(request, &state).await;
                reply::secure(reply.headers_mut());
                Ok::<_, Infallible>(reply)
            }
        });
        let port = ClosedPort {
            name: "console",
            listener: self.listener,
            tls: self.tls,
            max_connections: MAX_CONNECTIONS,
        };
        port.open(service, load, settings)
    }
}

async fn answer_view(
    request: Request<Body>,
    views: Arc<Views>,
) -> Result<Response<Body>, Infallible> {
    let began = Instant::now();
    let (parts, body) = request.into_parts();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(status) => return Ok(error_reply(&status)),
    };
    Ok(views.answer(&parts, &body, began).await)
}

/// Answers a request. The page's files are not recorded; its calls of the API are
/// recorded as such.
async fn answer(mut request: Request<Incoming>, state: &State) -> Response<Body> {
    let host = origin::check_host(&request, !state.access.is_open());
    if let (Ok(()), Some(asset)) = (host, Asset::at(request.uri().path())) {
        return if [Method::GET, Method::HEAD].contains(request.method()) {
            asset.reply(request.headers())
        } else {
            not_allowed("GET, HEAD")
        };
    }
    let checked = match host {
        Ok(()) => check(&request, state),
        Err(problem) => Err(Box::new(reply::error(Code::PermissionDenied, problem))),
    };
    let call = connect::call_at(request.uri().path());
    if let (Ok(session), Some(path)) = (&checked, call) {
        return call_api(request, state, session.as_ref(), path).await;
    }
    let record = state.calls.start(&mut request);
    let mut reply = match checked {
        Ok(session) => {
            let reply = answer_itself(request, state, session);
            reply.instrument(record.span()).await
        }
        Err(refused) => *refused,
    };
    let code = reply.extensions().get::<Code>().copied();
    record.finish(code.unwrap_or(Code::Ok), reply.headers_mut());
    reply
}

/// Checks all of a request but its body. Returns its session, if it has one.
fn check(
    request: &Request<Incoming>,
    state: &State,
) -> Result<Option<SessionKey>, Box<Response<Body>>> {
    let refuse = |code, problem| Err(Box::new(reply::error(code, problem)));
    let path = request.uri().path();
    if !paths::is_own(path) && connect::call_at(path).is_none() {
        return refuse(Code::Unimplemented, "the console has no such path");
    }
    if ![Method::GET, Method::POST].contains(request.method()) {
        return Err(Box::new(not_allowed("GET, POST")));
    }
    if !request.headers().contains_key(PAGE) || !origin::is_same(request) {
        return refuse(Code::PermissionDenied, "only the console's page may ask");
    }
    if *request.method() == Method::POST && !origin::is_json(request) {
        return refuse(
            Code::InvalidArgument,
            "the content type must be application/json",
        );
    }
    let session = state.sessions.of(request.headers(), Instant::now());
    if session.is_none() && !state.access.is_open() && !paths::is_about_sessions(path) {
        return refuse(Code::Unauthenticated, "log in first");
    }
    Ok(session)
}

/// Reads the body of a request, which may have the key of its session only, and logs
/// which user it is about.
async fn read(
    request: Request<Incoming>,
    state: &State,
    session: Option<&SessionKey>,
) -> Result<(Parts, Bytes), Box<Response<Body>>> {
    let (mut parts, body) = request.into_parts();
    let body = Limited::new(body, MAX_REQUEST_BYTES).collect().await;
    let body = body.map_err(|_| {
        let problem = "the request is too large or incomplete";
        Box::new(reply::error(Code::ResourceExhausted, problem))
    })?;
    let body = body.to_bytes();
    parts.headers.remove(AUTHORIZATION);
    let mut tenant = None;
    if let (Some((key, of_session)), false) = (session, state.access.is_open()) {
        parts.headers.insert(AUTHORIZATION, key.clone());
        tenant = of_session.as_deref();
    }
    let path = parts.uri.path();
    if let (Some(user), false) = (views::user_of(&body), paths::is_about_sessions(path)) {
        state.audit.looked_at(&user, tenant, path);
    }
    Ok((parts, body))
}

async fn call_api(
    request: Request<Incoming>,
    state: &State,
    session: Option<&SessionKey>,
    path: &'static str,
) -> Response<Body> {
    match read(request, state, session).await {
        Ok((parts, body)) => connect::call(state.api.clone(), path, &parts.headers, body).await,
        Err(refused) => *refused,
    }
}

async fn answer_itself(
    request: Request<Incoming>,
    state: &State,
    session: Option<SessionKey>,
) -> Response<Body> {
    let (parts, body) = match read(request, state, session.as_ref()).await {
        Ok(read) => read,
        Err(refused) => return *refused,
    };
    match parts.uri.path() {
        SESSION => {
            let has_session = session.is_some();
            let tenant = session.and_then(|(_, tenant)| tenant);
            return reply::json(&describe(state, has_session, tenant));
        }
        LOGIN => return log_in(state, &body, Instant::now()),
        LOGOUT => return log_out(state, &parts.headers),
        _ => {}
    }
    let request = Request::from_parts(parts, Full::new(body));
    let Ok(reply) = state.views.clone().oneshot(request).await;
    // A refusal of the guard is a gRPC status.
    match Status::from_header_map(reply.headers()) {
        Some(status) => error_reply(&status),
        None => reply,
    }
}

fn not_allowed(methods: &'static str) -> Response<Body> {
    let mut reply = reply::error(Code::Unimplemented, "this path takes other methods");
    *reply.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    reply
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(methods));
    reply
}

fn describe(state: &State, has_session: bool, tenant: Option<String>) -> Value {
    let is_open = state.access.is_open();
    let authenticated = is_open || has_session;
    if !authenticated {
        return json!({"authenticated": false, "loginRequired": true});
    }
    json!({
        "authenticated": true,
        "loginRequired": !is_open,
        "tenant": tenant,
        "version": env!("CARGO_PKG_VERSION"),
        "exampleUsers": state.example_users,
        "apiUrl": state.api_url,
    })
}

#[derive(Deserialize)]
struct Login {
    key: String,
}

fn log_in(state: &State, body: &[u8], now: Instant) -> Response<Body> {
    if let Err(wait) = state.sessions.try_login(now) {
        let text = "too many tries to log in; wait a moment";
        let mut reply = reply::error(Code::ResourceExhausted, text);
        let seconds = HeaderValue::from(wait.as_secs().max(1));
        reply.headers_mut().insert(RETRY_AFTER, seconds);
        return reply;
    }
    let key = serde_json::from_slice::<Login>(body).ok();
    let key = key.and_then(|login| HeaderValue::from_str(&format!("Bearer {}", login.key)).ok());
    let Some(mut key) = key else {
        return reply::error(Code::Unauthenticated, "no known key");
    };
    key.set_sensitive(true);
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, key.clone());
    let mut tenant = None;
    for roles in [&[Role::Serve], &[Role::ReadProfile]] {
        match state.access.admit(&headers, roles) {
            Ok(caller) => tenant = caller.tenant,
            Err(refusal) => return error_reply(&Status::from(refusal)),
        }
    }
    let tenant = tenant.map(|tenant| tenant.to_string());
    let cookie = state.sessions.open(key, tenant.clone(), state.is_tls, now);
    let Some(cookie) = cookie else {
        return reply::error(Code::ResourceExhausted, "too many sessions");
    };
    state.audit.logged_in(tenant.as_deref());
    let mut reply = reply::json(&describe(state, true, tenant));
    reply.headers_mut().insert(SET_COOKIE, cookie);
    reply
}

fn log_out(state: &State, headers: &HeaderMap) -> Response<Body> {
    let mut reply = reply::json(&json!({}));
    if let Some(cookie) = state.sessions.close(headers, state.is_tls) {
        reply.headers_mut().insert(SET_COOKIE, cookie);
    }
    reply
}
