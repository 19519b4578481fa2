//! `grpc.health.v1`, by the names that clients and Kubernetes ask for.

use tonic_health::{ServingStatus, server::HealthReporter};

use crate::proto::{
    catalog_service_server::SERVICE_NAME as CATALOG,
    recommender_service_server::SERVICE_NAME as RECOMMENDER,
};

/// SERVING while the process can answer; so is the empty name.
pub const LIVENESS: &str = "liveness";
/// SERVING from when the dependencies first answered until the drain begins.
pub const READINESS: &str = "readiness";

/// What is reported at start: alive, but not ready.
pub(super) async fn starting(reporter: &HealthReporter) {
    for name in ["", LIVENESS] {
        reporter
            .set_service_status(name, ServingStatus::Serving)
            .await;
    }
    not_ready(reporter).await;
}

/// The dependencies answer.
pub(super) async fn ready(reporter: &HealthReporter) {
    set_ready(reporter, ServingStatus::Serving).await;
}

/// At start, and from when the drain begins.
pub(super) async fn not_ready(reporter: &HealthReporter) {
    set_ready(reporter, ServingStatus::NotServing).await;
}

async fn set_ready(reporter: &HealthReporter, status: ServingStatus) {
    for name in [READINESS, RECOMMENDER, CATALOG] {
        reporter.set_service_status(name, status).await;
    }
}
