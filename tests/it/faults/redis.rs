//! A real Redis behind a failing network, or in a state in which it refuses calls.

use std::{slice, time::Duration};

use recsys::{
    adapters::redis::{RedisPool, RedisSettings},
    domain::{ids::UserId, ranking_config::RankingConfig},
    ports::WaitingCaller,
    proto::{self, IngestOutcome, SignalsSource},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::Code;

use super::{
    Load, PAUSE, assert_calls_without_state, assert_retryable, assert_state_unavailable,
    assert_stored, assert_stored_for, deliver, event, recommend_request, users,
};
use crate::support::{
    MemoryWorld, plain,
    proxy::{End, Proxy, Way},
    redis::{RedisServer, instance, own_prefix, pool, ports, shared},
    server::{NOW, TestServer, disliked, liked, named, reason, stored_like},
    until,
};

/// An instance that reaches Redis through a proxy.
struct ProxiedRedis {
    redis: &'static RedisServer,
    prefix: String,
    proxy: Proxy,
    server: TestServer,
}

impl ProxiedRedis {
    /// With long timeouts.
    async fn with_long_timeouts() -> Self {
        Self::with(|url| pool(url, RedisSettings::default())).await
    }

    /// With short timeouts.
    async fn with_short_timeouts() -> Self {
        let soon = Duration::from_millis(300);
        let settings = RedisSettings {
            redis_connect_timeout: soon,
            redis_command_timeout: soon,
            ..RedisSettings::default()
        };
        Self::with(|url| RedisPool::new(url, &settings).unwrap()).await
    }

    async fn with(pool: impl FnOnce(&str) -> RedisPool) -> Self {
        let (redis, prefix) = (shared(), own_prefix());
        let proxy = Proxy::to(redis.port()).await;
        let pool = pool(&format!("redis://{}", proxy.address()));
        let server = instance(&pool, &prefix).await;
        Self {
            redis,
            prefix,
            proxy,
            server,
        }
    }

    fn stored(&self, user: &str) -> Vec<String> {
        self.redis.event_ids(&format!("{}evt:{user}", self.prefix))
    }

    async fn assert_stored_for(&self, user: &str, ids: &[&str]) {
        assert_stored_for(&self.server, self.redis, &self.prefix, user, ids).await;
    }

    /// Checks every call during an outage of Redis, and the recovery after it.
    async fn outage(&self, begin: impl AsyncFnOnce(&Proxy)) {
        deliver(&self.server, &event("u", "before")).await;
        begin(&self.proxy).await;
        // Twice: on open connections, and on new ones.
        for _ in 0..2 {
            assert_calls_without_state(&self.server, "u", "meanwhile").await;
        }
        self.proxy.heal().await;
        // It may be stored late, but not twice.
        deliver(&self.server, &event("u", "meanwhile")).await;
        deliver(&self.server, &event("u", "after")).await;
        self.assert_stored_for("u", &["after", "before", "meanwhile"])
            .await;
        let list = self.server.recommend(recommend_request("u")).await.unwrap();
        assert!(list.diagnostics.unwrap().degraded.is_empty());
    }
}

#[tokio::test]
async fn refused_connections_are_unavailable_and_heal() {
    let proxied = ProxiedRedis::with_long_timeouts().await;
    let refuse = async |proxy: &Proxy| {
        proxy.refuse().await;
        proxy.reset();
    };
    proxied.outage(refuse).await;
}

#[tokio::test]
async fn connections_reset_at_once_are_unavailable_and_heal() {
    let proxied = ProxiedRedis::with_long_timeouts().await;
    let turn_away = async |proxy: &Proxy| {
        proxy.turn_away();
        proxy.reset();
    };
    proxied.outage(turn_away).await;
}

#[tokio::test]
async fn a_silent_partition_is_unavailable_and_heals() {
    let proxied = ProxiedRedis::with_short_timeouts().await;
    proxied.outage(async |proxy: &Proxy| proxy.hold()).await;
}

#[tokio::test]
async fn a_reply_cut_at_any_byte_leaves_the_event_once() {
    let proxied = ProxiedRedis::with_long_timeouts().await;
    let mut sent = Vec::new();
    let mut found_again = 0;
    for end in [End::Reset, End::Close] {
        // The reply of an append has some 80 bytes.
        for bytes in 0..100 {
            let id = format!("{end:?}-{bytes}");
            proxied.proxy.cut_after(bytes, Way::Replies, end);
            let reply = proxied.server.ingest(event("u", &id)).await.unwrap();
            assert_eq!(reply.buffered_events as usize, sent.len() + 1, "{id}");
            found_again += usize::from(reply.outcome() == IngestOutcome::Duplicate);
            sent.push(id);
        }
    }
    // The attempt whose reply was cut had stored the event.
    assert!(found_again > 0);
    let sent: Vec<&str> = sent.iter().map(String::as_str).collect();
    proxied.assert_stored_for("u", &sent).await;
}

#[tokio::test]
async fn an_erasure_cut_at_any_byte_is_complete_after_a_retry() {
    let proxied = ProxiedRedis::with_long_timeouts().await;
    for bytes in 0..40 {
        let user = format!("u{bytes}");
        deliver(&proxied.server, &event(&user, "1")).await;
        proxied.proxy.cut_after(bytes, Way::Replies, End::Reset);
        assert!(proxied.server.delete(&user).await, "{user}");
        proxied.server.delete(&user).await;
        let (_, source) = proxied.server.signals(&user).await;
        assert_eq!(source, SignalsSource::Empty, "{user}");
        assert!(proxied.stored(&user).is_empty(), "{user}");
    }
}

#[tokio::test]
async fn a_connection_lost_in_its_handshake_is_retried() {
    let (redis, prefix) = (shared(), own_prefix());
    let proxy = Proxy::to(redis.port()).await;
    let event = stored_like("u", "i001");
    let user = UserId::parse("u").unwrap();
    for end in [End::Reset, End::Close] {
        // The replies of a handshake, and more.
        for bytes in 0..200 {
            let url = format!("redis://{}", proxy.address());
            let pool = pool(&url, RedisSettings::default());
            let world = MemoryWorld::new(NOW, &RankingConfig::default(), Vec::new());
            let events = ports(&pool, &prefix, &world).events;
            proxy.cut_after(bytes, Way::Replies, end);
            let caller = WaitingCaller::without_deadline();
            let one = slice::from_ref(&event);
            let appended = events.append(&user, one, &caller).await;
            assert!(
                appended.is_ok(),
                "{end:?} after {bytes} bytes: {appended:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_lost_reply_is_unavailable_and_a_retry_finds_the_event() {
    let proxied = ProxiedRedis::with_long_timeouts().await;
    // The reply that is cut may be that of another command.
    for round in 0..50 {
        let user = format!("u{round}");
        deliver(&proxied.server, &event(&user, "before")).await;
        proxied.proxy.refuse().await;
        proxied.proxy.cut_after(20, Way::Replies, End::Reset);
        let meanwhile = event(&user, "meanwhile");
        assert_state_unavailable(&proxied.server.ingest(meanwhile.clone()).await.unwrap_err());
        let stored = proxied.stored(&user).contains(&"meanwhile".to_owned());
        proxied.proxy.heal().await;
        let outcome = deliver(&proxied.server, &meanwhile).await.outcome();
        proxied
            .assert_stored_for(&user, &["before", "meanwhile"])
            .await;
        if stored {
            assert_eq!(outcome, IngestOutcome::Duplicate);
            return;
        }
    }
    panic!("no append was cut");
}

#[tokio::test]
async fn an_append_slower_than_its_deadline_is_completed_and_counted_once() {
    let proxied = ProxiedRedis::with_long_timeouts().await;
    deliver(&proxied.server, &event("u", "before")).await;
    proxied.proxy.hold_one(Way::Replies);
    let late = event("u", "late");
    let request = proto::IngestEventRequest {
        event: Some(late.clone()),
    };
    let call = plain::within("2S", request);
    let status = plain::client(&proxied.server).ingest_event(call).await;
    let status = status.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::DeadlineExceeded, "DEADLINE_EXCEEDED")
    );
    assert_eq!(proxied.stored("u").len(), 2, "Redis has it");

    proxied.proxy.heal().await;
    // The model is completed without a read.
    let umodel = format!("{}umodel:u", proxied.prefix);
    let complete = async || {
        proxied
            .redis
            .cli(&["GET", &umodel])
            .contains("\"event_count\":2")
    };
    until("the model is saved", complete).await;
    let (_, source) = proxied.server.signals("u").await;
    assert_eq!(source, SignalsSource::Materialized);
    let again = deliver(&proxied.server, &late).await;
    assert_eq!(again.outcome(), IngestOutcome::Duplicate);
    proxied.assert_stored_for("u", &["before", "late"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_slow_network_slows_calls_but_fails_none() {
    let proxied = ProxiedRedis::with_long_timeouts().await;
    for way in [Way::Requests, Way::Replies] {
        proxied.proxy.delay(way, Duration::from_millis(20));
    }
    let load = Load::start(&proxied.server, &users(8));
    load.wait_for(100).await;
    assert_eq!(load.failed(), 0);
    let sent = load.end().await;
    assert_stored(&proxied.server, proxied.redis, &proxied.prefix, &sent).await;
}

#[tokio::test]
async fn a_loading_redis_is_unavailable_with_retry_info() {
    let mut redis = RedisServer::start();
    let server = instance(&redis.pool(), "").await;
    deliver(&server, &event("u", "before")).await;
    // Enough data for a slow load.
    let script = "for i = 1, 10000 do redis.call('SET', ARGV[1] .. '-' .. i, 'x') end";
    for batch in 0..20 {
        redis.cli(&["EVAL", script, "0", &batch.to_string()]);
    }
    redis.kill();
    // Microseconds for each key: about a minute for all, unless reset.
    redis.restart_with(&["--key-load-delay", "200"]);
    assert!(redis.cli(&["PING"]).contains("LOADING"));
    assert_calls_without_state(&server, "u", "meanwhile").await;
    assert!(redis.cli(&["PING"]).contains("LOADING"), "still loading");
    redis.cli(&["CONFIG", "SET", "key-load-delay", "0"]);
    deliver(&server, &event("u", "meanwhile")).await;
    assert_stored_for(&server, &redis, "", "u", &["before", "meanwhile"]).await;
}

#[tokio::test]
async fn a_demoted_redis_takes_no_events_is_still_read_and_heals() {
    let redis = RedisServer::start();
    let server = instance(&redis.pool(), "").await;
    deliver(&server, &event("u", "before")).await;
    // A replica of an unreachable master: there is no server to write to.
    redis.cli(&["REPLICAOF", "127.0.0.1", "1"]);
    for _ in 0..2 {
        let refused = server.ingest(event("u", "meanwhile")).await.unwrap_err();
        assert_state_unavailable(&refused);
        assert_eq!(server.signals("u").await.0.event_count, 1);
        let list = server.recommend(recommend_request("u")).await.unwrap();
        assert!(list.diagnostics.unwrap().degraded.is_empty());
    }
    redis.cli(&["REPLICAOF", "NO", "ONE"]);
    let taken = deliver(&server, &event("u", "meanwhile")).await;
    assert_eq!(taken.outcome(), IngestOutcome::Accepted);
    assert_stored_for(&server, &redis, "", "u", &["before", "meanwhile"]).await;
}

#[tokio::test]
async fn a_full_redis_keeps_its_data_still_erases_and_heals() {
    let redis = RedisServer::with(&["--maxmemory", "3mb", "--maxmemory-policy", "noeviction"]);
    let server = instance(&redis.pool(), "").await;
    deliver(&server, &event("small", "1")).await;
    let large = |user: &str, id: &str| proto::InteractionEvent {
        query_text: "x".repeat(60_000),
        ..event(user, id)
    };
    let mut taken = Vec::new();
    let full = loop {
        let id = taken.len().to_string();
        match server.ingest(large("large", &id)).await {
            Ok(_) => taken.push(id),
            Err(status) => break status,
        }
    };
    assert_retryable(&full, Code::ResourceExhausted, "USER_STATE_FULL");
    let full = server.ingest(large("other", "1")).await.unwrap_err();
    assert_retryable(&full, Code::ResourceExhausted, "USER_STATE_FULL");
    assert_stored_for(&server, &redis, "", "small", &["1"]).await;
    let ids: Vec<&str> = taken.iter().map(String::as_str).collect();
    assert_stored_for(&server, &redis, "", "large", &ids).await;
    assert!(server.delete("large").await, "frees memory");
    deliver(&server, &large("other", "1")).await;
    assert_stored_for(&server, &redis, "", "other", &["1"]).await;
}

#[tokio::test]
async fn a_key_of_the_wrong_type_is_an_internal_error_for_its_user_only() {
    let (redis, prefix) = (shared(), own_prefix());
    let server = instance(&redis.pool(), &prefix).await;
    let evt = format!("{prefix}evt:odd");
    redis.cli(&["SET", &evt, "x"]);
    let broken = server.ingest(event("odd", "1")).await.unwrap_err();
    assert_eq!(
        (broken.code(), broken.message()),
        (Code::Internal, "internal error")
    );
    // It is read together with the model.
    let request = proto::GetUserSignalsRequest {
        user_id: "odd".to_owned(),
        ..Default::default()
    };
    let broken = server.recommender().get_user_signals(request).await;
    assert_eq!(broken.unwrap_err().code(), Code::Internal);
    let other = deliver(&server, &event("other", "1")).await;
    assert_eq!(other.outcome(), IngestOutcome::Accepted);
    assert_eq!(redis.cli(&["GET", &evt]), "x", "it is unchanged");
    redis.cli(&["DEL", &evt]);
    deliver(&server, &event("odd", "1")).await;
    assert_stored_for(&server, redis, &prefix, "odd", &["1"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn flushing_scripts_under_load_fails_no_call() {
    let redis = RedisServer::start();
    let server = instance(&redis.pool(), "").await;
    let load = Load::start(&server, &users(16));
    for _ in 0..40 {
        assert_eq!(redis.cli(&["SCRIPT", "FLUSH"]), "OK");
        load.wait_for(4).await;
    }
    assert_eq!(load.failed(), 0);
    assert_stored(&server, &redis, "", &load.end().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_killed_under_load_lose_nothing() {
    let redis = RedisServer::start();
    let server = instance(&redis.pool(), "").await;
    let load = Load::start(&server, &users(16));
    for _ in 0..40 {
        redis.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
        load.wait_for(4).await;
    }
    assert_stored(&server, &redis, "", &load.end().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn with_every_connection_in_use_a_call_is_unavailable_and_stores_nothing() {
    let master = RedisServer::start();
    let of = format!("127.0.0.1 {}", master.port());
    let replica = RedisServer::with(&["--replicaof", &of]);
    replica.until(&["INFO", "replication"], |info| {
        info.contains("master_link_status:up")
    });
    // A call that waits for a replica holds its connection.
    let settings = RedisSettings {
        redis_pool_size: 1,
        redis_wait_replicas: 1,
        redis_command_timeout: Duration::from_secs(60),
        redis_connect_timeout: Duration::from_secs(20),
        ..RedisSettings::default()
    };
    let server = instance(&RedisPool::new(&master.url(), &settings).unwrap(), "").await;
    deliver(&server, &event("first", "1")).await;
    replica.freeze();
    let mut client = server.recommender();
    let waiting = tokio::spawn(async move {
        let event = Some(event("first", "2"));
        let sent = client.ingest_event(proto::IngestEventRequest { event });
        sent.await.map(|reply| reply.into_inner().outcome())
    });
    master.until(&["INFO", "clients"], |info| {
        info.contains("blocked_clients:1")
    });
    assert_calls_without_state(&server, "second", "1").await;
    assert_eq!(master.cli(&["EXISTS", "evt:second"]), "0");
    replica.thaw();
    assert_eq!(waiting.await.unwrap().unwrap(), IngestOutcome::Accepted);
    let taken = deliver(&server, &event("second", "1")).await;
    assert_eq!(taken.outcome(), IngestOutcome::Accepted);
    assert_stored_for(&server, &replica, "", "first", &["1", "2"]).await;
    assert_stored_for(&server, &replica, "", "second", &["1"]).await;
}

/// Sends a command over a plain connection; `None` if Redis takes no more clients.
async fn send_command(connection: &mut TcpStream, command: &str) -> Option<String> {
    let command = format!("{command}\r\n");
    connection.write_all(command.as_bytes()).await.ok()?;
    let mut reply = vec![0; 8 << 10];
    let read = connection.read(&mut reply).await.ok()?;
    let reply = String::from_utf8_lossy(&reply[..read]).into_owned();
    (read > 0 && !reply.starts_with("-ERR max")).then_some(reply)
}

#[tokio::test]
async fn a_redis_at_its_client_limit_is_unavailable_and_heals() {
    let redis = RedisServer::with(&["--maxclients", "12"]);
    let proxy = Proxy::to(redis.port()).await;
    let url = format!("redis://{}", proxy.address());
    let server = instance(&pool(&url, RedisSettings::default()), "").await;
    deliver(&server, &event("u", "before")).await;
    // Other clients take all places while this instance is disconnected.
    proxy.refuse().await;
    proxy.reset();
    let mut others = Vec::new();
    loop {
        let mut other = TcpStream::connect(redis.address()).await.unwrap();
        if send_command(&mut other, "PING").await.is_some() {
            others.push(other);
            continue;
        }
        let info = send_command(&mut others[0], "INFO clients").await.unwrap();
        if info.contains(&format!("connected_clients:{}\r\n", others.len())) {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    assert_eq!(others.len(), 12);
    proxy.heal().await;
    for _ in 0..2 {
        assert_calls_without_state(&server, "u", "meanwhile").await;
    }
    drop(others);
    deliver(&server, &event("u", "meanwhile")).await;
    assert_stored_for(&server, &redis, "", "u", &["before", "meanwhile"]).await;
}

#[tokio::test]
async fn a_moved_address_is_followed_once_connections_fail() {
    let (old, new) = (RedisServer::start(), RedisServer::start());
    let of = old.port().to_string();
    new.cli(&["REPLICAOF", "127.0.0.1", &of]);
    let proxy = Proxy::to(old.port()).await;
    let url = format!("redis://{}", proxy.address());
    let server = instance(&pool(&url, RedisSettings::default()), "").await;
    deliver(&server, &event("u", "before")).await;
    new.until(&["ZCARD", "evt:u"], |count| count == "1");
    new.cli(&["REPLICAOF", "NO", "ONE"]);
    proxy.lead_to(new.port());
    proxy.reset();
    let moved = named("after", disliked("u", "i002"));
    deliver(&server, &moved).await;
    deliver(&server, &named("last", liked("u", "i003"))).await;
    assert_stored_for(&server, &new, "", "u", &["after", "before", "last"]).await;
    assert_eq!(old.event_ids("evt:u"), ["before"]);
}
