//! `grpc.health.v1`: which names are SERVING.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic_health::{ServingStatus, server::HealthReporter};
use tracing::{error, info, warn};

use crate::{
    api::service_traits::{
        catalog_service_server::SERVICE_NAME as CATALOG,
        recommender_service_server::SERVICE_NAME as RECOMMENDER,
    },
    edge::access::Access,
    engine::{Engine, EngineError},
    telemetry::meters,
};

/// SERVING while the process can answer, as is the empty name.
pub const LIVENESS: &str = "liveness";
/// SERVING from when the dependencies first answered until the drain begins.
pub const READINESS: &str = "readiness";

const CHECK_EVERY: Duration = Duration::from_secs(1);
/// A dependency that does not answer within this time fails the check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// Consecutive failures after which a dependency is down. One success brings it up
/// again.
const FAILURES_TO_GO_DOWN: u32 = 3;

/// Checks the dependencies of the services and reports the status of each name.
pub(crate) struct Monitor {
    access: Arc<Access>,
    reporter: HealthReporter,
    user_state: DependencyCheck,
    catalogue: DependencyCheck,
    was_ready: bool,
    progress: StartProgress,
    /// The last report: watchers are notified of changes only.
    reported: HashMap<&'static str, bool>,
}

/// How far the start is, until the service is ready. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct StartProgress(Arc<Mutex<Option<String>>>);

impl StartProgress {
    /// A description; `None` if there is none.
    pub(crate) fn text(&self) -> Option<String> {
        let text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        text.clone()
    }

    fn set(&self, text: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }
}

struct DependencyCheck {
    name: &'static str,
    /// The label in metrics.
    label: &'static str,
    up: bool,
    failures: u32,
}

impl DependencyCheck {
    fn new(name: &'static str, label: &'static str) -> Self {
        Self {
            name,
            label,
            up: false,
            failures: 0,
        }
    }

    fn record(&mut self, checked: Result<(), EngineError>) {
        match checked {
            Ok(()) => {
                self.failures = 0;
                if !std::mem::replace(&mut self.up, true) {
                    info!(dependency = self.name, "dependency answers");
                }
            }
            Err(error) => {
                if error.progress().is_some() {
                    // Its store logs how far it is.
                    return;
                }
                self.failures = self.failures.saturating_add(1);
                if self.failures == FAILURES_TO_GO_DOWN {
                    self.up = false;
                    let is_misconfigured = error.is_misconfigured();
                    let error = &error as &dyn std::error::Error;
                    if is_misconfigured {
                        error!(dependency = self.name, error, "dependency is misconfigured");
                    } else {
                        warn!(dependency = self.name, error, "dependency does not answer");
                    }
                }
            }
        }
    }
}

fn status(serving: bool) -> ServingStatus {
    if serving {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    }
}

impl Monitor {
    /// Reports the process as alive and everything else as not ready.
    pub(crate) async fn start(access: Arc<Access>, reporter: HealthReporter) -> Self {
        for name in ["", LIVENESS] {
            reporter
                .set_service_status(name, ServingStatus::Serving)
                .await;
        }
        not_ready(&reporter).await;
        Self {
            access,
            reporter,
            user_state: DependencyCheck::new("user state", "user_state"),
            catalogue: DependencyCheck::new("catalogue", "catalogue"),
            was_ready: false,
            progress: StartProgress::default(),
            reported: HashMap::new(),
        }
    }

    pub(crate) fn progress(&self) -> StartProgress {
        self.progress.clone()
    }

    /// Checks each dependency once and reports the result.
    pub(crate) async fn check(&mut self) {
        let engines = self.access.engines();
        let (user_state, catalogue) = tokio::join!(
            with_timeout(user_state_answers(&engines)),
            with_timeout(catalogues_answer(&engines, self.was_ready)),
        );
        let progress = catalogue.as_ref().err().and_then(EngineError::progress);
        self.progress.set(progress);
        self.user_state.record(user_state);
        self.catalogue.record(catalogue);
        for dependency in [&self.user_state, &self.catalogue] {
            meters::dependency_up(dependency.label, dependency.up);
        }
        let all = self.user_state.up && self.catalogue.up;
        self.was_ready |= all;
        for (name, serving) in [
            (RECOMMENDER, all),
            (CATALOG, self.catalogue.up),
            // Once ready, always ready: a store that fails later leads to degraded
            // replies, not to a service without endpoints.
            (READINESS, self.was_ready),
        ] {
            if self.reported.insert(name, serving) != Some(serving) {
                self.reporter
                    .set_service_status(name, status(serving))
                    .await;
            }
        }
    }

    /// Checks every second until the drain begins; then nothing is ready.
    pub(crate) async fn watch(mut self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(CHECK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop
            .run_until_cancelled(async {
                ticks.tick().await;
                self.check().await;
            })
            .await
            .is_some()
        {}
        not_ready(&self.reporter).await;
    }
}

/// The user state of all tenants is in one store.
async fn user_state_answers(engines: &[Engine]) -> Result<(), EngineError> {
    match engines.first() {
        Some(engine) => engine.check_user_state().await,
        None => Ok(()),
    }
}

/// The catalogues of all tenants are in one store: it is up if any of them answers. A
/// catalogue that is not set up affects its tenant alone. One that is being loaded delays
/// the start, and nothing afterwards.
async fn catalogues_answer(engines: &[Engine], was_ready: bool) -> Result<(), EngineError> {
    let mut checks: JoinSet<Result<(), EngineError>> = engines
        .iter()
        .cloned()
        .map(|engine| async move { engine.check_catalogue().await })
        .collect();
    let mut any_answers = engines.is_empty();
    let mut failed = None;
    while let Some(checked) = checks.join_next().await {
        match checked {
            Ok(Ok(())) if was_ready => return Ok(()),
            Ok(Ok(())) => any_answers = true,
            Ok(Err(error)) if error.progress().is_some() => {
                if !was_ready {
                    return Err(error);
                }
                any_answers = true;
            }
            Ok(Err(error)) => failed = Some(error),
            Err(_) => failed = Some(EngineError::Panicked),
        }
    }
    match failed {
        Some(error) if !any_answers => Err(error),
        Some(_) | None => Ok(()),
    }
}

async fn with_timeout(
    check: impl Future<Output = Result<(), EngineError>>,
) -> Result<(), EngineError> {
    tokio::time::timeout(CHECK_TIMEOUT, check)
        .await
        .unwrap_or(Err(EngineError::TimedOut))
}

async fn not_ready(reporter: &HealthReporter) {
    for name in [READINESS, RECOMMENDER, CATALOG] {
        reporter
            .set_service_status(name, ServingStatus::NotServing)
            .await;
    }
}

#[cfg(test)]
mod tests {
    use super::DependencyCheck;
    use crate::engine::EngineError;

    #[test]
    fn consecutive_failures_bring_a_dependency_down_and_one_success_brings_it_up() {
        let failure = || Err(EngineError::TimedOut);
        let mut dependency = DependencyCheck::new("store", "store");
        assert!(!dependency.up, "not before it has answered");
        dependency.record(Ok(()));
        for _ in 0..5 {
            dependency.record(failure());
            dependency.record(failure());
            assert!(dependency.up, "two failures are a blip");
            dependency.record(Ok(()));
        }
        for failures in 1..=4 {
            dependency.record(failure());
            assert_eq!(dependency.up, failures < 3, "after {failures} failures");
        }
        dependency.record(Ok(()));
        assert!(dependency.up);
    }
}
