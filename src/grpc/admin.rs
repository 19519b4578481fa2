//! The admin port: for whoever watches the process, apart from its callers.
//! Plaintext HTTP for what was measured and for simple probes, and the same
//! gRPC health as on the API's port.

use std::sync::Arc;

use axum::{Router, extract::State, routing::get};
use http::{StatusCode, header::CONTENT_TYPE};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{
    Request,
    service::Routes,
    transport::{Server, server::TcpIncoming},
};
use tonic_health::{
    pb::{
        HealthCheckRequest,
        health_check_response::ServingStatus,
        health_server::{Health as _, HealthServer},
    },
    server::{HealthReporter, HealthService},
};

use super::{
    health::{LIVENESS, READINESS},
    server::ServeError,
};

/// Where to watch the process from, and what it has to tell.
pub struct Admin {
    /// The port, listened on.
    pub listener: TcpListener,
    /// Gives what was measured, in Prometheus's text format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

impl Admin {
    /// Serves until `stop` is cancelled.
    pub(super) async fn serve(
        self,
        reporter: HealthReporter,
        stop: CancellationToken,
    ) -> Result<(), ServeError> {
        let health = HealthService::from_health_reporter(reporter.clone());
        let metrics = self.metrics;
        let router = Router::new()
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
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()?;
        let service = HealthServer::new(HealthService::from_health_reporter(reporter));
        Server::builder()
            .accept_http1(true)
            .add_routes(
                Routes::from(router)
                    .add_service(service)
                    .add_service(reflection),
            )
            .serve_with_incoming_shutdown(TcpIncoming::from(self.listener), stop.cancelled_owned())
            .await?;
        Ok(())
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
        Ok(reply) => reply.into_inner().status() == ServingStatus::Serving,
        Err(_) => false,
    };
    if serving {
        (StatusCode::OK, "SERVING\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "NOT_SERVING\n")
    }
}
