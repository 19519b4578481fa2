//! Attacks on the users' state and the catalogue: while one tenant makes users as large
//! and appends as dear as it can, the bytes that the process holds and the commands that
//! it sends to Redis stay bounded, and no call of another tenant fails.

use std::time::{Duration, Instant};

use recsys::proto::{
    BatchIngestEventsRequest, DeleteUserRequest, GetUserSignalsRequest, SignalsSource,
};
use tonic::Code;

use crate::support::{
    budget::{BUDGET, HealthyTenant, assert_bounded},
    proxy::{Proxy, Way},
    redis::RedisServer,
    server::{liked, named, reason},
    state_attacks::{LARGE_EVENT, StateAttacker},
    tenants::{Tenants, with_headers},
    until,
    watched::Watched,
};

/// Default of the most bytes of a user's events in Redis.
const MAX_USER_BYTES: usize = 4 << 20;
/// The memory of the catalogues of all tenants.
const CATALOGUES: usize = 16 << 20;
/// Commands of Redis for one round of the healthy tenant: its events, each with ZADD and
/// at the cap ZSCORE, and what is read and written besides.
const ROUND_COMMANDS: usize = 3 * HealthyTenant::EVENTS + 200;
/// Commands of pings, checks and refreshes.
const OTHER_COMMANDS: usize = 3_000;

/// A server over Redis, a healthy tenant and an attacker.
struct World {
    redis: RedisServer,
    served: Watched,
    attacker: StateAttacker,
    healthy: HealthyTenant,
}

impl World {
    async fn open() -> Self {
        let redis = RedisServer::start();
        let mut tenants = Tenants::new(&["shop", "other", "third"]);
        let healthy = tenants.key("shop", &["ingest", "serve"]);
        let keys = StateAttacker::keys(&mut tenants, ["other", "third"]);
        tenants.write();
        let (path, budget) = (tenants.path(), BUDGET.to_string());
        let catalogues = CATALOGUES.to_string();
        let served = Watched::with(
            &redis,
            &[
                ("RECSYS_TENANTS_PATH", path.as_str()),
                ("RECSYS_MAX_BUFFERED_BYTES", &budget),
                ("EMBEDDED_CATALOG_MAX_BYTES", &catalogues),
                ("RECSYS_REQUEST_TIMEOUT", "60s"),
            ],
        )
        .await;
        let address = served.served.address.parse().unwrap();
        Self {
            redis,
            served,
            attacker: StateAttacker::new(address, keys).await,
            healthy: HealthyTenant::start(address, healthy),
        }
    }

    /// Runs an attack that may send as many commands for itself.
    async fn bounded(&self, attack: &str, commands: usize, work: impl Future<Output = ()>) {
        self.redis.cli(&["CONFIG", "RESETSTAT"]);
        let before = self.healthy.rounds();
        work.await;
        assert_bounded(&self.served, attack);
        let sent = self.redis.commands();
        let rounds = self.healthy.rounds() - before + 2;
        let most = commands + rounds * ROUND_COMMANDS + OTHER_COMMANDS;
        assert!(sent <= most, "{attack}: {sent} commands, {rounds} rounds");
    }

    fn events(&self, user: &str) -> usize {
        self.redis.events(&format!("other:evt:{user}"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_user_of_one_tenant_is_large_or_dear_enough_to_fail_calls_of_another() {
    let world = World::open().await;
    let attacker = &world.attacker;

    let ids = attacker.ids_of_many_lengths();
    world.bounded("ids of many lengths", 3 * 6_000, ids).await;
    assert!(world.events("ids") <= 5_000);

    let large = attacker.large_user();
    world.bounded("a large user", 3 * 150 + 1_000, large).await;
    let is_trimmed = async || world.events("large") <= MAX_USER_BYTES / LARGE_EVENT;
    until("the oldest events are removed", is_trimmed).await;

    // Exports of that user that are not read, and one that is.
    world
        .bounded("exports", 2_000, async {
            let status = attacker.export_whole().await.unwrap_err();
            assert_eq!(reason(&status), "REPLY_TOO_LARGE", "{status}");
            let unread = attacker.exports_in_pages().await;
            assert!(!unread.is_empty());
            assert_bounded(&world.served, "exports");
            drop(unread);
            let mut admitted = None;
            let is_admitted = async || {
                admitted = attacker.export_in_pages().await.ok();
                admitted.is_some()
            };
            until("an export is admitted", is_admitted).await;
            let (mut read, mut stored) = (admitted.unwrap(), 0);
            while let Some(page) = read.message().await.unwrap() {
                stored += page.stored_events.len();
            }
            assert_eq!(stored, world.events("large"), "the right of access holds");
        })
        .await;

    let profiles = attacker.profiles();
    world.bounded("profiles", 4 * 3_000, profiles).await;
    let is_trimmed = async || world.events("profiles") <= 151;
    until("the oldest answers are removed", is_trimmed).await;

    world.healthy.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_ingests_no_more_batches_than_its_quota_of_calls() {
    let world = World::open().await;
    let begun = Instant::now();
    world
        .bounded("a stream of batches", 3 * 8_000, async {
            // The burst, and what a few seconds admit.
            world.attacker.stream_batches(5).await.unwrap();
            let admitted = 3 + usize::try_from(begun.elapsed().as_secs()).unwrap() + 1;
            assert!(5 <= admitted, "5 of {admitted} batches");
        })
        .await;
    world.healthy.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_catalogues_of_two_tenants_leave_the_memory_and_the_calls_of_another() {
    let world = World::open().await;
    world
        .bounded("full catalogues", 0, async {
            let stored = world.attacker.fill_catalogues().await.unwrap();
            assert!(stored > CATALOGUES / 2, "{stored} bytes");
            assert!(stored < CATALOGUES, "{stored} bytes");
        })
        .await;
    world.healthy.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_that_stalls_in_the_network_neither_restores_an_erased_user_nor_fails_others() {
    let redis = RedisServer::start();
    let proxy = Proxy::to(redis.port()).await;
    let url = format!("redis://{}", proxy.address());
    let mut tenants = Tenants::new(&["shop", "other"]);
    let healthy = tenants.key("shop", &["ingest", "serve"]);
    let key = tenants.key("other", &["ingest", "erase", "read-profile"]);
    tenants.write();
    let path = tenants.path();
    let tenants_path = [("RECSYS_TENANTS_PATH", path.as_str())];
    let stalled = Watched::set(&[&tenants_path[..], &[("REDIS_URL", url.as_str())]].concat()).await;
    let other = Watched::with(&redis, &tenants_path).await;
    let healthy = HealthyTenant::start(other.served.address.parse().unwrap(), healthy);

    let headers = [("x-api-key", key.as_str())];
    let ingest = |id: &str| {
        let request = BatchIngestEventsRequest {
            events: vec![named(id, liked("gone", "2001"))],
        };
        with_headers(&headers, request)
    };
    stalled
        .client()
        .batch_ingest_events(ingest("1"))
        .await
        .unwrap();
    proxy.hold_one(Way::Requests);
    let (before, mut late) = (proxy.seen(Way::Requests), ingest("2"));
    late.set_timeout(Duration::from_secs(2));
    let mut client = stalled.client();
    let call = tokio::spawn(async move { client.batch_ingest_events(late).await });
    // More than pings are.
    let is_sent = async || proxy.seen(Way::Requests) > before + 400;
    until("the append is sent", is_sent).await;
    let request = with_headers(
        &headers,
        DeleteUserRequest {
            user_id: "gone".into(),
        },
    );
    let deleted = other.client().delete_user(request).await.unwrap();
    assert!(deleted.into_inner().deleted);
    // The caller has given up: it is not sent again.
    let answered = call.await.unwrap();
    let results = answered.map(|reply| reply.into_inner().results);
    assert!(results.is_err() || results.unwrap()[0].error.is_some());
    proxy.heal().await;
    let has_arrived = async || {
        let ended = ["", "unavailable", "cancelled"].map(|end| stalled.redis("append", end));
        ended.iter().sum::<f64>() >= 2.0
    };
    until("the append arrives", has_arrived).await;
    for process in [&stalled, &other] {
        let request = GetUserSignalsRequest {
            user_id: "gone".into(),
            include_vectors: false,
        };
        let mut client = process.client();
        let signals = client
            .get_user_signals(with_headers(&headers, request))
            .await;
        assert_eq!(signals.unwrap().into_inner().source(), SignalsSource::Empty);
    }
    assert_eq!(redis.events("other:evt:gone"), 0);
    healthy.finish().await;
}

#[tokio::test]
async fn a_redis_that_lacks_a_command_is_not_asked_again_and_again() {
    const CALLS: usize = 30;
    let redis = RedisServer::with(&["--rename-command", "PEXPIRETIME", ""]);
    let served = Watched::with(&redis, &[]).await;
    redis.cli(&["CONFIG", "RESETSTAT"]);
    for number in 0..CALLS {
        let event = named(&number.to_string(), liked("u", "2001"));
        assert_eq!(served.ingest(event).await, Err(Code::Unavailable));
    }
    assert_bounded(&served, "a command that Redis lacks");
    let sent = redis.commands();
    assert!(
        sent <= 12 * CALLS + 200,
        "{sent} commands for {CALLS} calls"
    );
}
