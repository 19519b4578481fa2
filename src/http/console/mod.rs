//! The console: a page for the owners of the lists, and what it asks for.
//!
//! Its calls of the API pass the layers of the API's port. Requests must come from the
//! page itself: other sites can neither read replies nor cause calls.

mod assets;
mod audit;
mod connect;
mod data;
mod explanation;
mod origin;
mod reply;
mod sessions;
mod settings;
mod views;

use std::{convert::Infallible, sync::Arc, time::Instant};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, AUTHORIZATION, RETRY_AFTER, SET_COOKIE},
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tonic::{Code, Status, body::Body};
use tower::{Layer as _, ServiceExt as _, service_fn, util::BoxCloneSyncService};

use crate::{
    api::{connect::error_reply, status::Grpc},
    edge::{
        access::Access, budget::Load, guard::Guard, load::FreeCalls, settings::ServerSettings,
        tenants::Role, tls::Tls,
    },
    http::open_port::{ClosedPort, OpenPort},
};
use assets::Asset;
use audit::Audit;
use sessions::Sessions;

pub(crate) use connect::ApiService;
pub(crate) use explanation::explanation;
pub use settings::ConsoleSettings;

/// Most connections: there are few visitors.
pub const MAX_CONNECTIONS: usize = 256;
/// Largest request: a form.
const MAX_REQUEST_BYTES: usize = 1 << 20;
/// The header that the page sends. Pages of other sites cannot, without a preflight that
/// is not answered.
const PAGE: &str = "x-recsys-console";
const SESSION: &str = "/console/session";
const LOGIN: &str = "/console/login";
const LOGOUT: &str = "/console/logout";

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
    sessions: Sessions,
    audit: Audit,
    is_tls: bool,
    example_users: Vec<String>,
    api_url: String,
}

type ViewService = BoxCloneSyncService<Request<Full<Bytes>>, Response<Body>, Infallible>;

impl Console {
    /// Serves the page until the connections are closed. Its calls share the limits on
    /// load with the API.
    pub(crate) fn open(
        self,
        access: Arc<Access>,
        load: Arc<Load>,
        api: ApiService,
        settings: &ServerSettings,
    ) -> OpenPort {
        for engine in access.engines() {
            engine.count_activity();
        }
        let guard = Guard {
            methods: views::METHODS,
            access: Some(Arc::clone(&access)),
            load: Arc::clone(&load),
            free: FreeCalls::new(&load),
            timeout: settings.request_timeout,
            protocol: &Grpc,
        };
        let views = BoxCloneSyncService::new(guard.layer(service_fn(answer_view)));
        let state = Arc::new(State {
            access,
            api,
            views,
            sessions: Sessions::new(Instant::now()),
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

async fn answer_view(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let began = Instant::now();
    let (parts, body) = request.into_parts();
    let body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(status) => return Ok(error_reply(&status)),
    };
    Ok(views::answer(&parts, &body, began).await)
}

async fn answer(request: Request<Incoming>, state: &State) -> Response<Body> {
    if let Err(problem) = origin::check_host(&request, !state.access.is_open()) {
        return reply::error(Code::PermissionDenied, problem);
    }
    let path = request.uri().path();
    if let Some(asset) = Asset::at(path) {
        return if [Method::GET, Method::HEAD].contains(request.method()) {
            asset.reply(request.headers())
        } else {
            not_allowed("GET, HEAD")
        };
    }
    let is_own = [SESSION, LOGIN, LOGOUT].contains(&path) || views::is_path(path);
    if !is_own && connect::call_at(path).is_none() {
        return reply::error(Code::Unimplemented, "the console has no such path");
    }
    if ![Method::GET, Method::POST].contains(request.method()) {
        return not_allowed("GET, POST");
    }
    if !request.headers().contains_key(PAGE) || !origin::is_same(&request) {
        return reply::error(Code::PermissionDenied, "only the console's page may ask");
    }
    if *request.method() == Method::POST && !origin::is_json(&request) {
        return reply::error(
            Code::InvalidArgument,
            "the content type must be application/json",
        );
    }
    let (mut parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_REQUEST_BYTES).collect().await else {
        return reply::error(
            Code::ResourceExhausted,
            "the request is too large or incomplete",
        );
    };
    let body = body.to_bytes();
    parts.headers.remove(AUTHORIZATION);
    let now = Instant::now();
    let session = state.sessions.of(&parts.headers, now);
    let tenant = session.as_ref().and_then(|(_, tenant)| tenant.clone());
    let path = parts.uri.path().to_owned();
    match path.as_str() {
        SESSION => return reply::json(&describe(state, session.is_some(), tenant)),
        LOGIN => return log_in(state, &body, now),
        LOGOUT => return log_out(state, &parts.headers),
        _ => {}
    }
    if !state.access.is_open() {
        let Some((key, _)) = session else {
            return reply::error(Code::Unauthenticated, "log in first");
        };
        parts.headers.insert(AUTHORIZATION, key);
    }
    if let Some(user) = views::user_of(&body) {
        state.audit.looked_at(&user, tenant.as_deref(), &path);
    }
    if let Some(path) = connect::call_at(&path) {
        return connect::call(state.api.clone(), path, &parts.headers, body).await;
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
    let mut headers = http::HeaderMap::new();
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

fn log_out(state: &State, headers: &http::HeaderMap) -> Response<Body> {
    let mut reply = reply::json(&json!({}));
    if let Some(cookie) = state.sessions.close(headers, state.is_tls) {
        reply.headers_mut().insert(SET_COOKIE, cookie);
    }
    reply
}
