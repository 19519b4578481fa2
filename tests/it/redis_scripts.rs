//! The scripts: what they refuse, and that their work is bounded.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use recsys::{
    adapters::{
        redis::{EventBufferOptions, RedisEventBuffer, RedisSettings},
        system::SystemClock,
    },
    domain::{
        event::{InteractionEvent, StoredEvent},
        event_member,
        ids::UserId,
    },
    ports::{AppendOutcome, Clock, EventBuffer, StoreErrorKind, WaitingCaller},
    proto::{self, IngestOutcome, SignalsSource},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tonic::Code;

use crate::support::{
    WINDOW, plain,
    proxy::{Proxy, Way},
    redis::{RedisServer, event_buffer, instance, own_prefix, pool, shared},
    server::{liked, named},
    until,
};

const APPEND: &str = include_str!("../../src/adapters/redis/append.lua");

fn id(user: &str) -> UserId {
    UserId::parse(user).unwrap()
}

fn event(ago: Duration, event_id: Option<String>, text: &str) -> StoredEvent {
    let mut event = InteractionEvent::new(id("u"), "T", SystemClock.now().minus(ago));
    event.event_id = event_id;
    event.query_text = Some(text.to_owned());
    event_member::encode(event).unwrap()
}

async fn append(buffer: &RedisEventBuffer, events: &[StoredEvent]) -> Vec<AppendOutcome> {
    let caller = WaitingCaller::without_deadline();
    let appended = buffer.append(&id("u"), events, &caller).await;
    appended.unwrap().outcomes
}

#[tokio::test]
async fn the_work_of_an_append_does_not_grow_with_the_buffer_or_with_the_ids() {
    const EVENTS: usize = 5_000;
    let redis = RedisServer::start();
    let pool = redis.pool();
    let buffer = event_buffer(&pool, "", WINDOW, EVENTS);
    let stored: Vec<StoredEvent> = (0..EVENTS)
        .map(|number| event(Duration::ZERO, Some(format!("stored-{number}")), "x"))
        .collect();
    append(&buffer, &stored).await;
    assert_eq!(redis.events("evt:u"), EVENTS);

    // Ids of a thousand lengths, one of them known, by a process that knows the
    // buffer and by one that does not.
    let attack: Vec<StoredEvent> = (0..1_000)
        .map(|length| {
            let id = match length {
                500 => "stored-4990".to_owned(),
                length => "i".repeat(length + 1),
            };
            event(Duration::ZERO, Some(id), "x")
        })
        .collect();
    let other = event_buffer(&pool, "", WINDOW, EVENTS);
    // A process that does not know what is near reads it, in pages of 1,000.
    let pages = EVENTS / 1_000;
    for (process, accepted, read) in [(&buffer, 999, 0), (&other, 0, pages)] {
        redis.cli(&["CONFIG", "RESETSTAT"]);
        let outcomes = append(process, &attack).await;
        let count = |wanted| {
            outcomes
                .iter()
                .filter(|outcome| **outcome == wanted)
                .count()
        };
        assert_eq!(count(AppendOutcome::Accepted), accepted);
        assert_eq!(count(AppendOutcome::Duplicate), 1_000 - accepted);
        // Per event ZADD and, at the cap, ZSCORE. Per call of 100 events some ten.
        let scripts = redis.calls("evalsha") + redis.calls("eval");
        assert!((10..=24).contains(&scripts), "{scripts}");
        let commands = redis.commands();
        assert!(commands <= 2 * 1_000 + 12 * scripts + 40, "{commands}");
        let searched = redis.calls("zrangebyscore");
        assert!(searched <= (4 + read) * scripts, "{searched}");
        assert_eq!(redis.calls("zrevrangebyscore"), 0);
    }
}

#[tokio::test]
async fn a_long_idle_buffer_is_pruned_in_steps_and_counts_what_is_in_the_window() {
    let (redis, prefix) = (shared(), own_prefix());
    let buffer = event_buffer(&redis.pool(), &prefix, WINDOW, 5_000);
    let evt = format!("{prefix}evt:u");
    append(&buffer, &[event(Duration::ZERO, None, "first")]).await;
    let script = "for i = 1, 1000 do redis.call('ZADD', KEYS[1], 1000000000 + i, 'old' .. i) end";
    redis.cli(&["EVAL", script, "1", &evt]);
    let caller = WaitingCaller::without_deadline();
    let mut sizes = vec![redis.events(&evt)];
    for number in 2..=8 {
        let new = event(Duration::ZERO, None, &number.to_string());
        let appended = buffer.append(&id("u"), &[new], &caller).await.unwrap();
        assert_eq!(appended.buffered_events, number);
        sizes.push(redis.events(&evt));
        assert_eq!(buffer.read(&id("u")).await.unwrap().events.len(), number);
    }
    assert!(
        sizes
            .windows(2)
            .all(|pair| pair[0] - pair[1].min(pair[0]) <= 201)
    );
    assert_eq!(sizes.last(), Some(&8), "{sizes:?}");
}

#[tokio::test]
async fn ids_are_compared_by_the_script_while_other_programs_write_all_the_time() {
    let (redis, prefix) = (shared(), own_prefix());
    let buffer = event_buffer(&redis.pool(), &prefix, WINDOW, 5_000);
    let evt = format!("{prefix}evt:u");
    append(&buffer, &[event(Duration::ZERO, Some("first".into()), "")]).await;
    let writes = Arc::new(AtomicBool::new(true));
    // Each raises the version within one connection's pipeline.
    let writer = std::thread::spawn({
        let (writes, evt) = (Arc::clone(&writes), evt.clone());
        move || {
            let script = "for i = 1, 2000 do \
                redis.call('PEXPIREAT', KEYS[1], redis.call('PEXPIRETIME', KEYS[1]) + 1) end";
            while writes.load(Ordering::SeqCst) {
                redis.cli(&["EVAL", script, "1", &evt]);
            }
        }
    });
    for number in 0..50 {
        let events = [
            event(Duration::ZERO, Some(format!("a{number}")), "1"),
            event(Duration::ZERO, Some("first".into()), "2"),
            event(Duration::ZERO, Some(format!("a{number}")), "3"),
        ];
        let expected = [
            AppendOutcome::Accepted,
            AppendOutcome::Duplicate,
            AppendOutcome::Duplicate,
        ];
        assert_eq!(append(&buffer, &events).await, expected, "{number}");
    }
    writes.store(false, Ordering::SeqCst);
    writer.join().unwrap();
    assert_eq!(redis.events(&evt), 51);
}

#[tokio::test]
async fn the_script_itself_finds_an_id_among_what_is_near_and_nothing_nested() {
    let (redis, prefix) = (shared(), own_prefix());
    let evt = format!("{prefix}evt:u");
    let now = SystemClock.now();
    let run = |seconds_ago: u64, member: &str, suffix: &str| {
        let time = now.minus(Duration::from_secs(seconds_ago));
        let score = (time.as_millis() / 1_000).to_string();
        let sent = SystemClock.now().as_micros().to_string();
        let window = WINDOW.as_millis().to_string();
        let reply = redis.cli(&[
            "EVAL", APPEND, "1", &evt, &window, "5000", "0", &sent, "", "", &score, member, suffix,
        ]);
        reply.lines().last().unwrap().to_owned()
    };
    let suffix = r#","event_id":"a"}"#;
    assert_eq!(run(1_000, r#"{"n":1,"event_id":"a"}"#, suffix), "0");
    assert_eq!(run(400, r#"{"n":2,"event_id":"a"}"#, suffix), "1");
    assert_eq!(run(1_600, r#"{"n":3,"event_id":"a"}"#, suffix), "1");
    assert_eq!(run(390, r#"{"n":4,"event_id":"a"}"#, suffix), "0");
    let nested = r#"{"raw":{"x":1,"event_id":"b"}}"#;
    assert_eq!(run(50, nested, ""), "0");
    assert_eq!(
        run(40, r#"{"n":5,"event_id":"b"}"#, r#","event_id":"b"}"#),
        "0"
    );
}

#[tokio::test]
async fn an_append_that_was_sent_too_long_ago_or_before_an_erasure_stores_nothing() {
    let (redis, prefix) = (shared(), own_prefix());
    let evt = format!("{prefix}evt:u");
    let send = |sent_ago: Duration| {
        let sent = SystemClock.now().minus(sent_ago).as_micros().to_string();
        let score = (SystemClock.now().as_millis() / 1_000).to_string();
        let window = WINDOW.as_millis().to_string();
        let reply = redis.cli(&[
            "EVAL", APPEND, "1", &evt, &window, "5000", "0", &sent, "", "", &score, "{}", "",
        ]);
        reply.lines().next().unwrap().to_owned()
    };
    assert_eq!(send(Duration::from_secs(31)), "2");
    assert_eq!(redis.cli(&["EXISTS", &evt]), "0");
    let server = instance(&redis.pool(), &prefix).await;
    assert!(!server.delete("u").await, "an unknown user");
    assert_eq!(send(Duration::from_secs(20)), "2");
    assert_eq!(redis.events(&evt), 0);
    assert_eq!(server.signals("u").await.1, SignalsSource::Empty);
    assert_eq!(send(Duration::ZERO), "0");
    assert_eq!(redis.events(&evt), 1);
    let marker = redis.cli(&["ZRANGE", &evt, "0", "0"]);
    let version: u64 = marker.split('"').nth(9).unwrap().parse().unwrap();
    let expiry: u64 = redis.cli(&["PEXPIRETIME", &evt]).parse().unwrap();
    assert!(expiry > version, "{expiry} {marker}");
    // An old marker is removed by the next append.
    let old = format!(
        r#"{{"erased":true,"at":"{:017}","version":"{version:017}"}}"#,
        1
    );
    redis.cli(&["ZREM", &evt, &marker]);
    redis.cli(&["ZADD", &evt, "0", &old]);
    server.ingest(liked("u", "i001")).await.unwrap();
    assert_eq!(redis.cli(&["ZCOUNT", &evt, "0", "0"]), "0");
}

#[tokio::test]
async fn an_append_that_stalls_until_its_user_was_erased_elsewhere_does_not_restore_them() {
    let redis = RedisServer::start();
    let proxy = Proxy::to(redis.port()).await;
    let url = format!("redis://{}", proxy.address());
    let stalled = instance(&pool(&url, RedisSettings::default()), "").await;
    let stalled = stalled.healthy().await;
    let other = instance(&redis.pool(), "").await.healthy().await;
    for user in ["gone", "waits"] {
        stalled
            .ingest(named("1", liked(user, "i001")))
            .await
            .unwrap();
        proxy.hold_one(Way::Requests);
        let request = proto::IngestEventRequest {
            event: Some(named("2", liked(user, "i002"))),
        };
        let call = match user {
            "gone" => plain::within("1S", request),
            _ => plain::within("60S", request),
        };
        let mut client = plain::client(&stalled);
        let before = proxy.seen(Way::Requests);
        let call = tokio::spawn(async move { client.ingest_event(call).await });
        let is_sent = async || proxy.seen(Way::Requests) > before + 300;
        until("the append is sent", is_sent).await;
        if user == "gone" {
            assert!(other.delete(user).await);
            let status = call.await.unwrap().unwrap_err();
            assert_eq!(status.code(), Code::DeadlineExceeded);
            redis.cli(&["CONFIG", "RESETSTAT"]);
            proxy.heal().await;
            let has_arrived = async || redis.calls("evalsha") + redis.calls("eval") > 0;
            until("the append arrives", has_arrived).await;
            assert_eq!(redis.events("evt:gone"), 0);
            for server in [&stalled, &other] {
                assert_eq!(server.signals(user).await.1, SignalsSource::Empty);
            }
        } else {
            // Its caller still waits: it counts as after the erasure.
            assert!(other.delete(user).await);
            proxy.heal().await;
            let reply = call.await.unwrap().unwrap().into_inner();
            assert_eq!(reply.outcome(), IngestOutcome::Accepted);
            assert_eq!(other.signals(user).await.0.viewed, ["i002"]);
        }
    }
}

#[tokio::test]
async fn the_oldest_events_of_a_user_with_too_many_bytes_go() {
    let (redis, prefix) = (shared(), own_prefix());
    let options = EventBufferOptions {
        key_prefix: prefix.clone(),
        window: WINDOW,
        max_events: 5_000,
        max_user_bytes: 100_000,
        max_answers: 100,
        cache_max_bytes: 64 << 20,
    };
    let buffer = RedisEventBuffer::new(redis.pool(), options.clone());
    let other = RedisEventBuffer::new(redis.pool(), options);
    let evt = format!("{prefix}evt:u");
    let text = "x".repeat(10_000);
    for number in 0..30_u64 {
        let new = event(
            Duration::from_secs(100 - number),
            None,
            &format!("{number}{text}"),
        );
        append(&buffer, &[new]).await;
        let is_bounded = async || redis.events(&evt) <= 9;
        until("the oldest are removed", is_bounded).await;
    }
    let newest = redis.cli(&["ZRANGE", &evt, "-1", "-1"]);
    assert!(newest.contains("\"29xxx"), "the newest stays");
    for process in [&buffer, &other] {
        let read = process.read(&id("u")).await.unwrap();
        assert_eq!(read.events.len(), redis.events(&evt));
        let observed = process.version(&id("u")).await.unwrap();
        assert_eq!(read.version, observed.version);
        let known = process.known(&id("u"), &observed).unwrap();
        assert_eq!(known.events, read.events);
    }
    // A buffer that grew under another limit is trimmed by a read.
    let small = RedisEventBuffer::new(
        redis.pool(),
        EventBufferOptions {
            key_prefix: prefix.clone(),
            window: WINDOW,
            max_events: 5_000,
            max_user_bytes: 30_000,
            max_answers: 100,
            cache_max_bytes: 64 << 20,
        },
    );
    small.read(&id("u")).await.unwrap();
    let is_trimmed = async || redis.events(&evt) == 2;
    until("the read trims it", is_trimmed).await;
}

#[tokio::test]
async fn a_long_buffer_is_read_in_pages_with_every_event_once() {
    let (redis, prefix) = (shared(), own_prefix());
    let buffer = event_buffer(&redis.pool(), &prefix, WINDOW, 5_000);
    // Many of the same time, which pages must not lose or repeat.
    let events: Vec<StoredEvent> = (0..1_500_u64)
        .map(|number| {
            let mut event = event(Duration::ZERO, None, &number.to_string()).event;
            event.time = SystemClock.now().minus(Duration::from_secs(number / 700));
            event_member::encode(event).unwrap()
        })
        .collect();
    append(&buffer, &events).await;
    let other = event_buffer(&redis.pool(), &prefix, WINDOW, 5_000);
    let read = other.read(&id("u")).await.unwrap();
    assert_eq!(read.events.len(), 1_500);
    let observed = buffer.version(&id("u")).await.unwrap();
    let known = buffer.known(&id("u"), &observed).unwrap();
    assert_eq!(known.events, read.events);
    assert_eq!(other.stored(&id("u")).await.unwrap().len(), 1_500);
}

#[tokio::test]
async fn ids_are_compared_with_thousands_of_near_events_in_pages() {
    const EVENTS: u64 = 5_000;
    let redis = RedisServer::start();
    let pool = redis.pool();
    let buffer = event_buffer(&pool, "", WINDOW, EVENTS as usize);
    // Within the ten minutes around the events that are compared.
    let numbered = |number: u64| {
        let ago = Duration::from_millis(number * 120);
        event(ago, Some(format!("stored-{number}")), "x")
    };
    let stored: Vec<StoredEvent> = (0..EVENTS).map(numbered).collect();
    append(&buffer, &stored).await;
    redis.cli(&["CONFIG", "SET", "slowlog-max-len", "100000"]);
    redis.cli(&["CONFIG", "SET", "slowlog-log-slower-than", "0"]);

    let other = event_buffer(&pool, "", WINDOW, EVENTS as usize);
    let again: Vec<StoredEvent> = (0..EVENTS).step_by(100).map(numbered).collect();
    let outcomes = append(&other, &again).await;
    assert_eq!(outcomes, vec![AppendOutcome::Duplicate; again.len()]);
    let commands = redis.cli(&["SLOWLOG", "GET", "-1"]);
    let words: Vec<&str> = commands.lines().collect();
    let limits = words.windows(3).filter(|words| words[0] == "LIMIT");
    let limits: Vec<u64> = limits.map(|words| words[2].parse().unwrap()).collect();
    assert!(limits.iter().sum::<u64>() >= EVENTS, "{limits:?}");
    assert!(limits.iter().all(|limit| *limit <= 1_100), "{limits:?}");
}

#[tokio::test]
async fn a_redis_that_lacks_a_command_is_misconfigured_and_names_it() {
    for command in ["PEXPIRETIME", "ZCOUNT", "GETRANGE"] {
        let redis = RedisServer::with(&["--rename-command", command, ""]);
        let buffer = event_buffer(&redis.pool(), "", WINDOW, 5_000);
        let error = buffer.check().await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{error}");
        let text = error.to_string();
        assert!(
            text.contains("misconfigured: it lacks ") && text.contains(command),
            "{text}"
        );
    }
    let redis = RedisServer::start();
    let buffer = event_buffer(&redis.pool(), "", WINDOW, 5_000);
    buffer.check().await.unwrap();
    assert_eq!(redis.cli(&["DBSIZE"]), "0", "nothing is left behind");
    // Once a minute.
    redis.cli(&["CONFIG", "RESETSTAT"]);
    buffer.check().await.unwrap();
    assert_eq!(redis.calls("evalsha") + redis.calls("eval"), 0);
}

/// The address of a Redis whose TIME is 0 inside of scripts: what its clients send is
/// forwarded, with another clock in the code of scripts.
async fn without_time_in_scripts(redis: &RedisServer) -> String {
    const CLOCK: &[u8] = b"redis.call('TIME')";
    const ZERO: &[u8] = b"({ '0', '0' })    ";
    const { assert!(CLOCK.len() == ZERO.len()) };
    let server = redis.address();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&server).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
            tokio::spawn(async move {
                let mut held = Vec::new();
                while let Ok(1..) = from_client.read_buf(&mut held).await {
                    let clocks = held.windows(CLOCK.len()).enumerate();
                    let clocks = clocks.filter(|(_, bytes)| *bytes == CLOCK);
                    let clocks: Vec<usize> = clocks.map(|(at, _)| at).collect();
                    for at in clocks {
                        held[at..at + CLOCK.len()].copy_from_slice(ZERO);
                    }
                    // The rest of a clock may follow.
                    let is_begun = |length: &usize| held.ends_with(&CLOCK[..*length]);
                    let begun = (1..CLOCK.len()).rev().find(is_begun).unwrap_or(0);
                    let rest = held.split_off(held.len() - begun);
                    if to_server.write_all(&held).await.is_err() {
                        return;
                    }
                    held = rest;
                }
            });
        }
    });
    format!("redis://{address}")
}

#[tokio::test]
async fn a_redis_without_time_in_scripts_is_misconfigured_and_accepts_no_event() {
    let redis = RedisServer::start();
    let known = event_buffer(&redis.pool(), "", WINDOW, 5_000);
    let stored = event(Duration::ZERO, Some("stored".into()), "");
    assert_eq!(append(&known, &[stored]).await, [AppendOutcome::Accepted]);

    let url = without_time_in_scripts(&redis).await;
    redis.cli(&["SCRIPT", "FLUSH"]);
    let buffer = event_buffer(&pool(&url, RedisSettings::default()), "", WINDOW, 5_000);
    let check = buffer.check().await.unwrap_err();
    let late = event(Duration::ZERO, Some("late".into()), "");
    let caller = WaitingCaller::without_deadline();
    let append = buffer.append(&id("u"), &[late], &caller).await.unwrap_err();
    for error in [check, append] {
        assert_eq!(error.kind(), StoreErrorKind::Misconfigured, "{error}");
        let text = error.to_string();
        assert!(text.contains("TIME is 0 inside of scripts"), "{text}");
    }
    assert_eq!(redis.event_ids("evt:u"), ["stored"], "nothing is lost");
}
