//! Whether the stores, and the machine, were there for anyone.
//!
//! On a busy machine Redis may take longer to answer than the server waits,
//! with no fault played. That is seen here, from the side, and what fails in the
//! meantime for want of an answer is not the server's fault. It may not be
//! often: see [`MOST`].

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use deadpool_redis::redis::{Client, cmd};
use qdrant_client::qdrant::{HealthCheckRequest, qdrant_client::QdrantClient};
use tokio_util::sync::CancellationToken;
use tonic::{Code, transport::Endpoint};

use super::{
    rpc::{CATALOGUE, Rpc, USER_STATE},
    weather::Weather,
};

const EVERY: Duration = Duration::from_millis(50);
/// Share of the run that may be so. Above, the machine is too busy to tell.
pub const MOST: f64 = 0.03;

/// Who let wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slow {
    /// This program did not get to run.
    Machine,
    Redis,
    Qdrant,
}

impl Slow {
    /// Half of what the server waits for an answer.
    fn from(self) -> Duration {
        match self {
            Self::Machine | Self::Redis => Duration::from_millis(250),
            Self::Qdrant => Duration::from_millis(1_000),
        }
    }
}

/// Who may be to blame for a failure.
pub fn suspects(rpc: Rpc, code: Code, reason: &str) -> &'static [Slow] {
    match (code, reason) {
        (Code::Unavailable, "USER_STATE_UNAVAILABLE") if USER_STATE.contains(&rpc) => {
            &[Slow::Machine, Slow::Redis]
        }
        (Code::Unavailable, "CATALOG_UNAVAILABLE") if CATALOGUE.contains(&rpc) => {
            &[Slow::Machine, Slow::Qdrant]
        }
        _ => &[],
    }
}

/// Who may be to blame for what a list lacks.
pub fn suspects_of_lack() -> &'static [Slow] {
    &[Slow::Machine, Slow::Redis, Slow::Qdrant]
}

struct Stall {
    slow: Slow,
    began: Instant,
    ended: Instant,
}

#[derive(Default)]
pub struct Witness(Mutex<Vec<Stall>>);

impl Witness {
    pub async fn watch(
        &self,
        weather: &Weather,
        redis_url: &str,
        qdrant_url: &str,
        stop: &CancellationToken,
    ) {
        let all = async {
            tokio::join!(
                self.machine(weather),
                self.redis(weather, redis_url),
                self.qdrant(weather, qdrant_url)
            )
        };
        let _ = stop.run_until_cancelled(all).await;
    }

    async fn machine(&self, weather: &Weather) {
        loop {
            let due = Instant::now() + EVERY;
            tokio::time::sleep_until(due.into()).await;
            self.note(weather, Slow::Machine, due);
        }
    }

    async fn redis(&self, weather: &Weather, url: &str) {
        let client = Client::open(url).expect("a good URL");
        loop {
            let began = Instant::now();
            let connected = client.get_multiplexed_async_connection().await;
            self.note(weather, Slow::Redis, began);
            tokio::time::sleep(EVERY).await;
            let Ok(mut connection) = connected else {
                continue;
            };
            loop {
                let began = Instant::now();
                let told: Result<String, _> = cmd("PING").query_async(&mut connection).await;
                self.note(weather, Slow::Redis, began);
                tokio::time::sleep(EVERY).await;
                if told.is_err() {
                    break;
                }
            }
        }
    }

    async fn qdrant(&self, weather: &Weather, url: &str) {
        let endpoint = Endpoint::from_shared(url.to_owned()).expect("a good URL");
        let mut client = QdrantClient::new(endpoint.connect_lazy());
        loop {
            let began = Instant::now();
            let asked = client.health_check(HealthCheckRequest {});
            let _ = tokio::time::timeout(2 * Slow::Qdrant.from(), asked).await;
            self.note(weather, Slow::Qdrant, began);
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Notes what took until now, if it was long and no fault was the cause.
    fn note(&self, weather: &Weather, slow: Slow, began: Instant) {
        let ended = Instant::now();
        if ended - began >= slow.from() && weather.was_calm_since(began) {
            let stall = Stall { slow, began, ended };
            self.0.lock().unwrap().push(stall);
        }
    }

    /// Whether one of them let wait in this time.
    pub fn excuses(&self, suspects: &[Slow], from: Instant, to: Instant) -> bool {
        self.0
            .lock()
            .unwrap()
            .iter()
            .any(|stall| suspects.contains(&stall.slow) && stall.began <= to && stall.ended >= from)
    }

    /// How long it was so, in all: what overlaps counts once.
    pub fn stalled(&self) -> Duration {
        let stalls = self.0.lock().unwrap();
        let mut spans: Vec<_> = stalls
            .iter()
            .map(|stall| (stall.began, stall.ended))
            .collect();
        spans.sort();
        let mut all = Duration::ZERO;
        let mut counted: Option<Instant> = None;
        for (began, ended) in spans {
            let from = counted.map_or(began, |counted| counted.max(began));
            all += ended.saturating_duration_since(from);
            counted = Some(counted.map_or(ended, |counted| counted.max(ended)));
        }
        all
    }
}
