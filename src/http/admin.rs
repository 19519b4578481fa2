//! The admin port: plaintext HTTP for metrics, probes and the log filter, and the gRPC
//! health of the API's port.
//!
//! It has its own thread and runtime, so that it answers while the main runtime is
//! busy, and reports when that is stuck.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::State, routing::get};
use http::{Response, StatusCode, header::CONTENT_TYPE};
use tokio::{net::TcpListener, sync::oneshot};
use tokio_util::sync::CancellationToken;
use tonic::{Request, body::Body, service::Routes};
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    pb::{HealthCheckRequest, health_check_response, health_server::Health as _},
    server::{HealthReporter, HealthService},
};
use tower::Layer as _;
use tracing::{error, info};

use crate::{
    api::{
        health::{LIVENESS, READINESS, StartProgress},
        methods::METHODS,
        services::MAX_FREE_REQUEST_BYTES,
    },
    edge::{
        budget::Load,
        connections::{Connections, Policy},
        guard::Guard,
        load::FreeCalls,
        refusal::{Protocol, Refusal},
        watchdog::Watchdog,
    },
    http::log_filter,
    telemetry::{LogFilter, meters},
};

const POLICY: Policy = Policy {
    port: "admin",
    max_connections: 256,
    max_age: Duration::from_secs(3_600),
    grace: Duration::from_secs(10),
    slow_client_timeout: Duration::from_secs(10),
    http1: true,
    paced: false,
};
/// Longest that a request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How often the main runtime's watchdog is checked.
const WATCHDOG_INTERVAL: Duration = Duration::from_millis(500);
/// A runtime that has run no task for this long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(5);

/// The admin port cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Its listener or its thread cannot be set up.
    #[error("the admin port cannot be served")]
    Io(#[from] std::io::Error),
    /// The reflection service refused the descriptor set: a build error.
    #[error("reflection cannot be set up")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// The admin port, before it is served.
pub struct Admin {
    /// Its port.
    pub listener: TcpListener,
    /// Renders the metrics in Prometheus's text format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Access to the log filter, if it can be changed.
    pub log: Option<LogFilter>,
}

impl Admin {
    /// Serves on its own thread until `stop` is cancelled. The result resolves when
    /// that has ended. `watchdog` is that of the main runtime. Until the service is ready,
    /// `/readyz` shows the `progress` of its start.
    pub(crate) fn start(
        self,
        reporter: HealthReporter,
        progress: StartProgress,
        watchdog: Arc<Watchdog>,
        stop: CancellationToken,
    ) -> Result<oneshot::Receiver<()>, AdminError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = self.listener.into_std()?;
        let routes = routes(reporter.clone(), progress, self.metrics, self.log)?;
        let (ended, has_ended) = oneshot::channel();
        let serve = async move {
            let listener = match TcpListener::from_std(listener) {
                Ok(listener) => listener,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    error!(error, "admin port failed");
                    return;
                }
            };
            // Bounded by its few connections: a probe is never refused.
            let load = Arc::new(Load::unmetered(usize::MAX, usize::MAX));
            let connections = Connections::new(POLICY, None, Arc::clone(&load));
            let guard = Guard {
                methods: METHODS,
                access: None,
                free: FreeCalls::new(&load),
                load,
                timeout: REQUEST_TIMEOUT,
                protocol: &PlainHttp,
            };
            let service = guard.layer(routes);
            tokio::select! {
                () = Arc::clone(&connections).accept(listener, service) => {}
                () = check_watchdog(&watchdog, &reporter) => {}
                () = stop.cancelled() => {}
            }
            connections.close(Duration::from_millis(100)).await;
        };
        std::thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || {
                runtime.block_on(serve);
                let _ = ended.send(());
            })?;
        Ok(has_ended)
    }
}

fn routes(
    reporter: HealthReporter,
    progress: StartProgress,
    metrics: Arc<dyn Fn() -> String + Send + Sync>,
    log: Option<LogFilter>,
) -> Result<Routes, AdminError> {
    let health = HealthService::from_health_reporter(reporter.clone());
    let mut router = Router::new()
        .route("/metrics", get(async move || metrics_reply(metrics())))
        .route(
            "/livez",
            get(async |State(health)| probe(health, LIVENESS, None).await),
        )
        .route(
            "/readyz",
            get(async move |State(health)| probe(health, READINESS, progress.text()).await),
        )
        .with_state(Arc::new(health));
    if let Some(log) = log {
        router = router.route("/log", log_filter::route(log));
    }
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?
        .max_decoding_message_size(MAX_FREE_REQUEST_BYTES);
    let service = HealthServer::new(HealthService::from_health_reporter(reporter))
        .max_decoding_message_size(MAX_FREE_REQUEST_BYTES);
    Ok(Routes::from(router)
        .add_service(service)
        .add_service(reflection)
        .prepare())
}

/// Writes refusals as plain text over HTTP. There are hardly any: no key is needed and
/// no call is shed.
struct PlainHttp;

impl Protocol for PlainHttp {
    fn reply(&self, refusal: Refusal) -> Response<Body> {
        let mut reply = Response::new(Body::new(format!("{refusal}\n")));
        *reply.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        reply
    }
}

/// Reports liveness NOT_SERVING while the main runtime is stuck. Never returns.
async fn check_watchdog(watchdog: &Watchdog, reporter: &HealthReporter) {
    let mut alive = true;
    let mut ticks = tokio::time::interval(WATCHDOG_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let silence = watchdog.silence();
        meters::runtime_silence(silence);
        let now_alive = silence < STUCK_AFTER;
        if now_alive == alive {
            continue;
        }
        alive = now_alive;
        if alive {
            info!("the runtime runs again");
        } else {
            let silence_s = silence.as_secs_f64();
            error!(silence_s, "the runtime is stuck: it runs no tasks");
        }
        let status = if alive {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        for name in ["", LIVENESS] {
            reporter.set_service_status(name, status).await;
        }
    }
}

fn metrics_reply(text: String) -> ([(http::HeaderName, &'static str); 1], String) {
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
}

/// The gRPC health of a name, for probes over HTTP, with how far its start is.
async fn probe(
    health: Arc<HealthService>,
    name: &str,
    progress: Option<String>,
) -> (StatusCode, String) {
    let request = HealthCheckRequest {
        service: name.to_owned(),
    };
    let serving = match health.check(Request::new(request)).await {
        Ok(reply) => reply.into_inner().status() == health_check_response::ServingStatus::Serving,
        Err(_) => false,
    };
    if serving {
        (StatusCode::OK, "SERVING\n".to_owned())
    } else {
        let progress = progress.map_or(String::new(), |progress| format!("{progress}\n"));
        let text = format!("NOT_SERVING\n{progress}");
        (StatusCode::SERVICE_UNAVAILABLE, text)
    }
}
