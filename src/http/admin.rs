//! The admin port: for whoever watches the process, apart from its callers.
//! Plaintext HTTP for what was measured, for simple probes and for the log's
//! filter, and the same gRPC health as on the API's port.
//!
//! It has a thread and a runtime of its own, so that it answers also when all
//! others are busy, and says so if they are stuck.

use std::{sync::Arc, time::Duration};

use axum::{Router, extract::State, routing::get};
use http::{StatusCode, header::CONTENT_TYPE};
use tokio::{net::TcpListener, sync::oneshot};
use tokio_util::sync::CancellationToken;
use tonic::{Request, service::Routes};
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    pb::{HealthCheckRequest, health_check_response, health_server::Health as _},
    server::{HealthReporter, HealthService},
};
use tower::Layer as _;
use tracing::{error, info};

use crate::{
    api::health::{LIVENESS, READINESS},
    app::server::{MAX_FREE_REQUEST_BYTES, ServeError},
    edge::{
        connections::{Connections, Policy},
        load::{Load, LoadLayer},
        watchdog::Pulse,
    },
    http::log_filter::{self, LogFilter},
    telemetry::meters,
};

/// Those who watch are few.
const POLICY: Policy = Policy {
    port: "admin",
    most: 256,
    age: Duration::from_secs(3_600),
    grace: Duration::from_secs(10),
    slow_client_timeout: Duration::from_secs(10),
    http1: true,
};
/// How often the other runtime's pulse is felt.
const FEEL_EVERY: Duration = Duration::from_millis(500);
/// A runtime that has run no task for so long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(5);

/// Where to watch the process from, and what it has to tell.
pub struct Admin {
    /// The port, listened on.
    pub listener: TcpListener,
    /// Gives what was measured, in Prometheus's text format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Which log lines are written, if that can be changed.
    pub log: Option<LogFilter>,
}

impl Admin {
    /// Serves on a thread of its own until `stop` is cancelled. The pulse is
    /// that of the runtime that is watched.
    pub(crate) fn start(
        self,
        reporter: HealthReporter,
        pulse: Arc<Pulse>,
        stop: CancellationToken,
    ) -> Result<oneshot::Receiver<()>, ServeError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ServeError::Admin)?;
        let listener = self.listener.into_std().map_err(ServeError::Admin)?;
        let routes = routes(reporter.clone(), self.metrics, self.log)?;
        let (ended, has_ended) = oneshot::channel();
        let serve = async move {
            let listener = match TcpListener::from_std(listener) {
                Ok(listener) => listener,
                Err(failed) => {
                    let cause = &failed as &dyn std::error::Error;
                    error!(error = cause, "admin port failed");
                    return;
                }
            };
            let connections = Connections::new(POLICY, None);
            // Its few connections bound it: a probe is never refused.
            let load = Load::unmetered(usize::MAX, usize::MAX);
            let service = LoadLayer(Arc::new(load)).layer(routes);
            tokio::select! {
                () = Arc::clone(&connections).accept(listener, service) => {}
                () = feel(&pulse, &reporter) => {}
                () = stop.cancelled() => {}
            }
            connections.close(Duration::from_millis(100)).await;
        };
        std::thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || {
                runtime.block_on(serve);
                let _ = ended.send(());
            })
            .map_err(ServeError::Admin)?;
        Ok(has_ended)
    }
}

fn routes(
    reporter: HealthReporter,
    metrics: Arc<dyn Fn() -> String + Send + Sync>,
    log: Option<LogFilter>,
) -> Result<Routes, ServeError> {
    let health = HealthService::from_health_reporter(reporter.clone());
    let mut router = Router::new()
        .route("/metrics", get(async move || metrics_reply(metrics())))
        .route(
            "/livez",
            get(async |State(health)| probe(health, LIVENESS).await),
        )
        .route(
            "/readyz",
            get(async |State(health)| probe(health, READINESS).await),
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

/// Reports a stuck runtime as not alive, for as long as it is. Never ends.
async fn feel(pulse: &Pulse, reporter: &HealthReporter) {
    let mut alive = true;
    let mut ticks = tokio::time::interval(FEEL_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let silence = pulse.silence();
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

/// What gRPC health says of a name, for those who speak only HTTP.
async fn probe(health: Arc<HealthService>, name: &str) -> (StatusCode, &'static str) {
    let request = HealthCheckRequest {
        service: name.to_owned(),
    };
    let serving = match health.check(Request::new(request)).await {
        Ok(reply) => reply.into_inner().status() == health_check_response::ServingStatus::Serving,
        Err(_) => false,
    };
    if serving {
        (StatusCode::OK, "SERVING\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "NOT_SERVING\n")
    }
}
