//! The contract of `EventBuffer`, for every implementation of it.

use std::{sync::Arc, time::Duration};

use recsys::{
    adapters::{
        memory::{Budget, MemoryEventBuffer},
        redis::RedisPool,
    },
    domain::{
        event::{EventLog, InteractionEvent, StoredEvent},
        event_member,
        ids::UserId,
        time::Timestamp,
    },
    ports::{
        AppendOutcome, Appended, BufferSnapshot, Clock, Erasure, EventBuffer, ObservedVersion,
        PAGE_EVENTS, PageStart, StoreError, StoreErrorKind, Version, WaitingCaller,
    },
};

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};

use crate::support::{DAY, TestClock, WINDOW, redis};

use AppendOutcome::{Accepted, Duplicate, OutsideWindow};

/// A buffer of at most 10 events per user, whose clock the test may move.
struct UnderTest {
    name: &'static str,
    buffer: Arc<dyn EventBuffer>,
    /// The same buffers as another process has them.
    other: Arc<dyn EventBuffer>,
    clock: Arc<TestClock>,
}

const CAP: usize = 10;

fn memory(budget: usize) -> UnderTest {
    let clock = TestClock::at("2026-06-10T12:00:00Z");
    in_memory(clock, Arc::new(Budget::new(budget)))
}

fn in_memory(clock: Arc<TestClock>, budget: Arc<Budget>) -> UnderTest {
    let buffer = Arc::new(MemoryEventBuffer::new(clock.clone(), WINDOW, CAP, budget));
    UnderTest {
        name: "memory",
        buffer: buffer.clone(),
        other: buffer,
        clock,
    }
}

fn redis(name: &'static str, pool: RedisPool) -> UnderTest {
    let prefix = redis::own_prefix();
    let buffer = || Arc::new(redis::event_buffer(&pool, &prefix, WINDOW, CAP));
    UnderTest {
        name,
        buffer: buffer(),
        other: buffer(),
        clock: TestClock::real(),
    }
}

fn all() -> Vec<UnderTest> {
    vec![
        memory(1 << 20),
        redis("redis", redis::shared().pool()),
        redis("cluster", redis::shared_cluster().pool()),
    ]
}

/// The implementations whose clock the test can move. For Redis,
/// `redis_state.rs` tests the same.
fn with_movable_time() -> Vec<UnderTest> {
    vec![memory(1 << 20)]
}

impl UnderTest {
    fn event(&self, user: &str, ago: Duration, content_id: &str) -> StoredEvent {
        self.event_with_id(user, ago, content_id, None)
    }

    fn event_with_id(
        &self,
        user: &str,
        ago: Duration,
        content_id: &str,
        event_id: Option<&str>,
    ) -> StoredEvent {
        let time = self.clock.now().minus(ago);
        event_member::encode(InteractionEvent {
            content_id: Some(content_id.into()),
            event_id: event_id.map(str::to_owned),
            ..InteractionEvent::new(id(user), "T", time)
        })
        .unwrap()
    }

    async fn append(&self, user: &str, events: &[StoredEvent]) -> Vec<AppendOutcome> {
        append(&self.buffer, user, events).await.unwrap().outcomes
    }

    async fn erase(&self, user: &str) -> Erasure {
        erase(&self.buffer, user, Version(0)).await.unwrap()
    }

    async fn contents(&self, user: &str) -> Vec<String> {
        let snapshot = self.buffer.read(&id(user)).await.unwrap();
        let mut events: Vec<(Timestamp, String)> = snapshot
            .events
            .iter()
            .map(|stored| {
                let id = stored.event.content_id.as_ref().unwrap();
                (stored.event.time, id.to_string())
            })
            .collect();
        events.sort();
        events.into_iter().map(|(_, id)| id).collect()
    }

    async fn version(&self, user: &str) -> Option<Version> {
        self.buffer.version(&id(user)).await.unwrap().version
    }
}

async fn append(
    buffer: &Arc<dyn EventBuffer>,
    user: &str,
    events: &[StoredEvent],
) -> Result<Appended, StoreError> {
    let caller = WaitingCaller::without_deadline();
    buffer.append(&id(user), events, &caller).await
}

/// A complete erasure of a buffer. `None` if it is refused.
async fn erase(buffer: &Arc<dyn EventBuffer>, user: &str, floor: Version) -> Option<Erasure> {
    let start = buffer.begin_erasure(&id(user)).await.unwrap();
    let erased = buffer.erase(&id(user), start.read_at, floor).await.unwrap();
    assert!(erased.is_none_or(|erasure| erasure.existed == start.existed));
    erased
}

fn id(user: &str) -> UserId {
    UserId::parse(user).unwrap()
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_id_of_the_data_is_the_same_for_all_processes_and_another_one_for_other_data() {
    let mut ids = Vec::new();
    for under in all() {
        let id = under.buffer.data_id().await.unwrap();
        let of_other = under.other.data_id().await.unwrap();
        assert_eq!(of_other, id, "{}", under.name);
        under.append("u", &[under.event("u", DAY, "i")]).await;
        assert_eq!(under.buffer.data_id().await.unwrap(), id, "{}", under.name);
        ids.push(id);
    }
    for under in all() {
        let id = under.buffer.data_id().await.unwrap();
        assert!(!ids.contains(&id), "{}", under.name);
    }
}

#[tokio::test]
async fn appended_events_are_read_once_whatever_their_order_and_repetition() {
    for test in all() {
        let (old, new) = (
            test.event("u", 2 * MINUTE, "old"),
            test.event("u", MINUTE, "new"),
        );
        let outcomes = test
            .append("u", &[new.clone(), old.clone(), new.clone()])
            .await;
        assert_eq!(outcomes, [Accepted, Accepted, Duplicate], "{}", test.name);
        assert_eq!(test.append("u", &[old]).await, [Duplicate]);
        assert_eq!(test.contents("u").await, ["old", "new"]);
        assert!(test.contents("v").await.is_empty());
        let appended = append(&test.buffer, "u", &[new]).await.unwrap();
        assert_eq!(appended.buffered_events, 2);
    }
}

#[tokio::test]
async fn all_stored_events_are_returned_as_text_oldest_first() {
    for test in all() {
        assert!(test.buffer.stored(&id("u")).await.unwrap().is_empty());
        // The first and last have the same time: their bytes decide.
        let events = [("b", 1), ("c", 2), ("a", 1)]
            .map(|(content, minutes)| test.event("u", minutes * MINUTE, content));
        test.append("u", &events).await;
        let [b, c, a] = events.map(|event| event.member.into_string());
        let stored = test.buffer.stored(&id("u")).await.unwrap();
        assert_eq!(stored, [c, a, b], "{}", test.name);
        assert!(test.buffer.stored(&id("v")).await.unwrap().is_empty());
        test.erase("u").await;
        assert!(test.buffer.stored(&id("u")).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn pages_hold_every_stored_event_once_in_order() {
    let clock = TestClock::at("2026-06-10T12:00:00Z");
    let budget = Arc::new(Budget::new(1 << 20));
    let buffers: [(&str, Arc<dyn EventBuffer>, Arc<TestClock>); 2] = [
        (
            "memory",
            Arc::new(MemoryEventBuffer::new(clock.clone(), WINDOW, 200, budget)),
            clock,
        ),
        (
            "redis",
            Arc::new(redis::event_buffer(
                &redis::shared().pool(),
                &redis::own_prefix(),
                WINDOW,
                200,
            )),
            TestClock::real(),
        ),
    ];
    for (name, buffer, clock) in buffers {
        let test = UnderTest {
            name,
            other: buffer.clone(),
            buffer,
            clock,
        };
        // More than a page of events have the same time.
        let now = test.clock.now();
        let events: Vec<StoredEvent> = (0..150)
            .map(|index: u64| {
                let time = now.minus(Duration::from_secs(600 - index.clamp(20, 100)));
                event_member::encode(InteractionEvent {
                    content_id: Some(format!("i{index:03}").as_str().into()),
                    ..InteractionEvent::new(id("u"), "T", time)
                })
                .unwrap()
            })
            .collect();
        for events in events.chunks(50) {
            test.buffer
                .append(&id("u"), events, &WaitingCaller::without_deadline())
                .await
                .unwrap();
        }
        let mut paged = Vec::new();
        let mut start = Some(PageStart::FIRST);
        while let Some(from) = start {
            let page = test.buffer.stored_page(&id("u"), from).await.unwrap();
            assert!(page.events.len() <= PAGE_EVENTS);
            assert!(
                page.events.iter().all(|stored| stored.event.is_some()),
                "{name}"
            );
            paged.extend(page.events.into_iter().map(|stored| stored.text));
            start = page.next;
        }
        assert_eq!(paged, test.buffer.stored(&id("u")).await.unwrap(), "{name}");
        assert_eq!(paged.len(), 150);
    }
}

#[tokio::test]
async fn events_older_than_the_window_are_returned_as_text_while_they_are_stored() {
    for test in with_movable_time() {
        let (edge, new) = (
            test.event("u", WINDOW, "edge"),
            test.event("u", MINUTE, "new"),
        );
        test.append("u", &[edge, new]).await;
        test.clock.advance(Duration::from_micros(1));
        assert_eq!(test.contents("u").await, ["new"]);
        assert_eq!(test.buffer.stored(&id("u")).await.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn an_event_id_is_recognised_within_ten_minutes_either_way() {
    for test in all() {
        let base = 20 * MINUTE;
        let at = |ago, content: &str| test.event_with_id("u", ago, content, Some("id"));
        assert_eq!(test.append("u", &[at(base, "first")]).await, [Accepted]);
        for (ago, outcome) in [
            (base + 10 * MINUTE, Duplicate),
            (base - 10 * MINUTE, Duplicate),
            (base + 10 * MINUTE + Duration::from_micros(1), Accepted),
            (base - 10 * MINUTE - Duration::from_micros(1), Accepted),
        ] {
            assert_eq!(
                test.append("u", &[at(ago, "again")]).await,
                [outcome],
                "{ago:?}"
            );
        }
        let other = test.event_with_id("u", base, "other", Some("id2"));
        assert_eq!(test.append("u", &[other]).await, [Accepted]);
        let same_call = [
            test.event_with_id("v", base, "a", Some("x")),
            test.event_with_id("v", base, "b", Some("x")),
        ];
        assert_eq!(test.append("v", &same_call).await, [Accepted, Duplicate]);
    }
}

#[tokio::test]
async fn the_window_is_30_days_to_the_microsecond() {
    for test in with_movable_time() {
        let edge = test.event("u", WINDOW, "edge");
        let old = test.event("u", WINDOW + Duration::from_micros(1), "old");
        assert_eq!(
            test.append("u", std::slice::from_ref(&old)).await,
            [OutsideWindow]
        );
        assert_eq!(test.version("u").await, None, "nothing was stored");
        assert_eq!(
            test.append("u", &[edge, old]).await,
            [Accepted, OutsideWindow]
        );
        test.clock.advance(Duration::from_micros(1));
        assert!(
            test.contents("u").await.is_empty(),
            "reads ignore older events"
        );
    }
}

#[tokio::test]
async fn the_cap_keeps_the_newest_and_refuses_events_that_it_would_drop_at_once() {
    for test in all() {
        let minutes = |count: usize| MINUTE * u32::try_from(count).unwrap();
        let events: Vec<StoredEvent> = (0..CAP)
            .map(|index| test.event("u", minutes(10 + index), &format!("e{index}")))
            .collect();
        assert_eq!(test.append("u", &events).await, [Accepted; CAP]);
        let older = test.event("u", minutes(60), "older");
        assert_eq!(
            test.append("u", std::slice::from_ref(&older)).await,
            [OutsideWindow]
        );
        let newer = test.event("u", minutes(1), "newer");
        assert_eq!(
            test.append("u", &[newer, older]).await,
            [Accepted, OutsideWindow]
        );
        let contents = test.contents("u").await;
        assert_eq!(contents.len(), CAP);
        assert_eq!(
            (contents[0].as_str(), contents[CAP - 1].as_str()),
            ("e8", "newer")
        );
    }
}

#[tokio::test]
async fn a_version_is_the_expiry_and_rises_with_each_append_that_stores() {
    for test in with_movable_time() {
        assert_eq!(test.version("u").await, None);
        let first = test.event("u", MINUTE, "a");
        test.append("u", std::slice::from_ref(&first)).await;
        let one = test.version("u").await.unwrap();
        let expiry = test.clock.now().plus(WINDOW).as_millis();
        assert_eq!(one, Version(u64::try_from(expiry).unwrap()));

        test.append("u", &[first]).await;
        assert_eq!(
            test.version("u").await,
            Some(one),
            "a duplicate stores nothing"
        );
        test.append("u", &[test.event("u", MINUTE, "b")]).await;
        assert_eq!(
            test.version("u").await,
            Some(Version(one.0 + 1)),
            "within one millisecond"
        );
        test.clock.set(test.clock.now().minus(DAY));
        test.append("u", &[test.event("u", MINUTE, "c")]).await;
        assert_eq!(
            test.version("u").await,
            Some(Version(one.0 + 2)),
            "the clock ran back"
        );
        test.clock.advance(2 * DAY);
        test.append("u", &[test.event("u", MINUTE, "d")]).await;
        assert!(test.version("u").await.unwrap().0 > one.0 + 80_000_000);
    }
}

#[tokio::test]
async fn an_idle_buffer_expires() {
    for test in with_movable_time() {
        test.append("u", &[test.event("u", Duration::ZERO, "a")])
            .await;
        test.clock.advance(WINDOW - Duration::from_millis(1));
        assert!(test.version("u").await.is_some());
        test.clock.advance(Duration::from_millis(1));
        assert_eq!(test.version("u").await, None);
        assert!(!test.erase("u").await.existed);
    }
}

#[tokio::test]
async fn an_erasure_has_a_version_above_all_before_and_affects_no_other_user() {
    for test in all() {
        test.append("u", &[test.event("u", MINUTE, "a")]).await;
        test.append("v", &[test.event("v", MINUTE, "b")]).await;
        let version = test.version("u").await.unwrap();
        let first = test.erase("u").await;
        assert!(first.existed && first.version > version, "{}", test.name);
        // Again, as after a lost reply: the floor holds.
        let again = test.erase("u").await;
        assert!(
            !again.existed && again.version > first.version,
            "{}",
            test.name
        );
        assert!(test.contents("u").await.is_empty());
        assert_eq!(test.contents("v").await, ["b"]);
    }
}

#[tokio::test]
async fn a_buffer_that_is_known_without_reading_is_that_of_a_read() {
    for test in all() {
        let members = |snapshot: &BufferSnapshot| -> Vec<String> {
            let events = EventLog::new(snapshot.events.clone()).into_events();
            events
                .iter()
                .map(|event| event.member.to_string())
                .collect()
        };
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let mut draw = |below: u32| random.next_u32() % below;
        let mut returned = 0;
        for step in 0..400 {
            // Runs of one writer, so that its cache has what it wrote.
            let buffer = [&test.buffer, &test.other][usize::from(step / 5 % 3 == 0)];
            let events: Vec<StoredEvent> = (0..=draw(3))
                .map(|_| {
                    let recent = MINUTE * (400 - step + draw(20));
                    let ago = if draw(6) == 0 { 31 * DAY } else { recent };
                    let event_id = draw(4) == 0;
                    let event_id = event_id.then(|| draw(20).to_string());
                    test.event_with_id("u", ago, &draw(9).to_string(), event_id.as_deref())
                })
                .collect();
            if draw(50) == 0 {
                erase(buffer, "u", Version(0)).await.unwrap();
            }
            let appended = append(buffer, "u", &events).await.unwrap();
            let read = test.other.read(&id("u")).await.unwrap();
            assert_eq!(appended.version, read.version, "{}, {step}", test.name);
            assert_eq!(appended.buffered_events, read.events.len());
            let observed = ObservedVersion {
                version: appended.version,
                observed_at: appended.now,
            };
            if let Some(contents) = buffer.known(&id("u"), &observed) {
                assert_eq!(contents.version, read.version);
                assert_eq!(members(&contents), members(&read), "{}, {step}", test.name);
                returned += 1;
            }
        }
        assert!(test.name == "memory" || returned > 100, "{returned} times");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_appends_are_all_stored() {
    for test in all() {
        let mut writers = Vec::new();
        for writer in 0..CAP {
            let buffer = test.buffer.clone();
            let event = test.event("u", MINUTE, &format!("w{writer}"));
            writers.push(tokio::spawn(async move {
                append(&buffer, "u", &[event]).await.unwrap();
            }));
        }
        for writer in writers {
            writer.await.unwrap();
        }
        assert_eq!(test.contents("u").await.len(), CAP);
    }
}

#[tokio::test]
async fn a_full_store_reports_it_and_has_room_again_when_users_expire() {
    let test = memory(20_000);
    let mut stored = 0;
    let error = loop {
        let user = format!("u{stored}");
        let event = test.event(&user, MINUTE, "a");
        match append(&test.buffer, &user, &[event]).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), StoreErrorKind::Full);
    assert!(stored > 5, "{stored} users fitted");
    assert_eq!(test.contents("u0").await, ["a"], "no user was evicted");
    let refused = format!("u{stored}");
    assert!(test.contents(&refused).await.is_empty());

    test.clock.advance(WINDOW);
    for index in 0..stored {
        let user = format!("new{index}");
        assert_eq!(
            test.append(&user, &[test.event(&user, MINUTE, "a")]).await,
            [Accepted]
        );
    }
}

#[tokio::test]
async fn everything_that_drops_events_releases_their_memory() {
    let clock = TestClock::at("2026-06-10T12:00:00Z");
    let budget = Arc::new(Budget::new(1 << 20));
    let test = in_memory(clock, budget.clone());
    for index in 0..50 {
        let event = test.event("u", MINUTE, &index.to_string());
        test.append(
            "u",
            &[event.clone(), event, test.event("u", 31 * DAY, "old")],
        )
        .await;
    }
    let full = budget.used();
    assert!(full > 0);
    test.append("u", &[test.event("u", Duration::ZERO, "50")])
        .await;
    assert!(budget.used() <= full + 10, "the cap bounds the use");
    test.erase("u").await;
    assert_eq!(budget.used(), 0);
    test.append("v", &[test.event("v", MINUTE, "a")]).await;
    test.clock.advance(WINDOW);
    assert_eq!(test.version("v").await, None);
    assert_eq!(budget.used(), 0);
}

#[tokio::test]
async fn the_budget_counts_the_memory_of_an_event_and_not_only_its_text() {
    let clock = TestClock::at("2026-06-10T12:00:00Z");
    let budget = Arc::new(Budget::new(64 << 20));
    let buffer: Arc<dyn EventBuffer> = Arc::new(MemoryEventBuffer::new(
        clock.clone(),
        WINDOW,
        CAP,
        budget.clone(),
    ));
    let mut nested = InteractionEvent::new(id("u"), "T", clock.now());
    let answers: Vec<serde_json::Value> = (0..5_000).map(|_| serde_json::json!({"a": 1})).collect();
    nested.survey_answers.insert("deep".into(), answers.into());
    let nested = event_member::encode(nested).unwrap();
    assert!(nested.member.len() < 64 << 10);
    append(&buffer, "u", &[nested]).await.unwrap();
    assert!(budget.used() > 3 << 20, "{} bytes charged", budget.used());
}

#[tokio::test]
async fn a_redelivery_is_recognised_even_by_a_full_store() {
    let test = memory(1_000);
    let (first, second) = (test.event("u", MINUTE, "a"), test.event("u", MINUTE, "b"));
    assert_eq!(
        test.append("u", std::slice::from_ref(&first)).await,
        [Accepted]
    );
    let full = append(&test.buffer, "u", &[first.clone(), second]).await;
    assert_eq!(full.unwrap_err().kind(), StoreErrorKind::Full);
    assert_eq!(test.append("u", &[first]).await, [Duplicate]);
}

#[tokio::test]
async fn an_erased_user_has_no_events_and_later_appends_take_a_higher_version() {
    for test in all() {
        test.append("u", &[test.event("u", MINUTE, "a")]).await;
        let floor = Version(test.version("u").await.unwrap().0 + 5_000);
        let erasure = erase(&test.buffer, "u", floor).await.unwrap();
        assert!(erasure.existed && erasure.version > floor, "{}", test.name);
        let read = test.other.read(&id("u")).await.unwrap();
        assert!(read.version.is_none() && read.events.is_empty());
        assert!(test.version("u").await <= Some(erasure.version));
        assert!(test.buffer.stored(&id("u")).await.unwrap().is_empty());

        let new = append(&test.other, "u", &[test.event("u", MINUTE, "b")]).await;
        let new = new.unwrap();
        assert_eq!((new.outcomes, new.buffered_events), (vec![Accepted], 1));
        assert!(new.version > Some(erasure.version), "{}", test.name);
        assert_eq!(test.contents("u").await, ["b"]);
        assert_eq!(test.buffer.stored(&id("u")).await.unwrap().len(), 1);
        // The marker stays, and takes none of the places.
        let events: Vec<StoredEvent> = (0..CAP)
            .map(|number| test.event("u", Duration::ZERO, &number.to_string()))
            .collect();
        assert_eq!(test.append("u", &events).await, [Accepted; CAP]);
        assert_eq!(test.contents("u").await.len(), CAP);
        assert!(!test.contents("u").await.contains(&"b".to_owned()));
    }
}

#[tokio::test]
async fn an_erasure_that_read_before_another_one_is_refused() {
    for test in all() {
        let start = test.buffer.begin_erasure(&id("u")).await.unwrap();
        let older = start.read_at.minus(Duration::from_secs(1));
        let refused = test
            .buffer
            .erase(&id("u"), start.read_at.minus(MINUTE), Version(0))
            .await
            .unwrap();
        assert_eq!(refused, None, "{}: too long ago", test.name);
        test.erase("u").await;
        let refused = test.other.erase(&id("u"), older, Version(0)).await.unwrap();
        assert_eq!(refused, None, "{}", test.name);
    }
}

#[tokio::test]
async fn a_large_batch_is_stored_like_its_events_one_by_one() {
    for test in [
        redis("redis", redis::shared().pool()),
        redis("cluster", redis::shared_cluster().pool()),
    ] {
        // More than a call of the script takes, with ids again in later calls.
        let events: Vec<StoredEvent> = (0..250)
            .map(|number| {
                let event_id = (number % 190).to_string();
                test.event_with_id("u", MINUTE, &number.to_string(), Some(&event_id))
            })
            .collect();
        let outcomes = test.append("u", &events).await;
        let duplicates = |outcomes: &[AppendOutcome]| {
            outcomes
                .iter()
                .filter(|outcome| **outcome == Duplicate)
                .count()
        };
        // The cap drops all but the newest; what it dropped is no duplicate.
        assert_eq!(outcomes.len(), 250);
        assert_eq!(duplicates(&outcomes[..100]), 0, "{}", test.name);
        assert_eq!(test.contents("u").await.len(), CAP);
    }
}
