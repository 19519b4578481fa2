//! What every `EventBuffer` does with events that hold answers only: it keeps the newest,
//! and they do not push out what the user did.

use std::{sync::Arc, time::Duration};

use recsys::{
    adapters::memory::{Budget, MemoryEventBuffer},
    domain::{
        answers::max_answers,
        event::{InteractionEvent, StoredEvent},
        event_member,
        ids::UserId,
        ranking_config::Preset,
    },
    ports::{AppendOutcome, Clock, EventBuffer, WaitingCaller},
};
use serde_json::json;

use crate::support::{TestClock, WINDOW, redis, until};

/// Events that a buffer keeps at most.
const CAP: usize = 400;
/// Events of answers that it keeps at most, some more than it is trimmed to.
const MOST_ANSWERS: usize = 150;

struct UnderTest {
    name: &'static str,
    buffer: Arc<dyn EventBuffer>,
    clock: Arc<TestClock>,
}

fn all() -> Vec<UnderTest> {
    let clock = TestClock::real();
    let budget = Arc::new(Budget::new(64 << 20));
    let memory = MemoryEventBuffer::new(clock.clone(), WINDOW, CAP, budget)
        .with_max_answers(max_answers(Preset::Recsys));
    let on = |name, pool| {
        let buffer = redis::event_buffer(&pool, &redis::own_prefix(), WINDOW, CAP);
        UnderTest {
            name,
            buffer: Arc::new(buffer),
            clock: clock.clone(),
        }
    };
    vec![
        UnderTest {
            name: "memory",
            buffer: Arc::new(memory),
            clock: clock.clone(),
        },
        on("redis", redis::shared().pool()),
        on("cluster", redis::shared_cluster().pool()),
    ]
}

fn user() -> UserId {
    UserId::parse("u").unwrap()
}

impl UnderTest {
    fn encoded(&self, event_type: &str, seconds_ago: u64, item: Option<&str>) -> StoredEvent {
        let time = self.clock.now().minus(Duration::from_secs(seconds_ago));
        let mut event = InteractionEvent::new(user(), event_type, time);
        event.content_id = item.map(Into::into);
        if item.is_none() {
            let answer = json!(seconds_ago);
            event.survey_answers.insert("age".into(), answer);
        }
        event.event_id = Some(format!("{event_type}-{seconds_ago}"));
        event_member::encode(event).unwrap()
    }

    fn likes(&self, count: u64) -> Vec<StoredEvent> {
        let like = |number| self.encoded("like", 10_000 + number, Some("i"));
        (0..count).map(like).collect()
    }

    fn profiles(&self, event_type: &str, seconds_ago: std::ops::Range<u64>) -> Vec<StoredEvent> {
        let oldest_first = seconds_ago.rev();
        oldest_first
            .map(|ago| self.encoded(event_type, ago, None))
            .collect()
    }

    async fn append(&self, events: &[StoredEvent]) {
        let caller = WaitingCaller::without_deadline();
        let appended = self.buffer.append(&user(), events, &caller).await;
        let outcomes = appended.unwrap().outcomes;
        let accepted = |outcome: &AppendOutcome| *outcome == AppendOutcome::Accepted;
        assert!(outcomes.iter().all(accepted), "{}", self.name);
    }

    /// The ids of the stored events of a type, oldest first.
    async fn stored(&self, event_type: &str) -> Vec<String> {
        let mut events = self.buffer.read(&user()).await.unwrap().events;
        events.sort_by_key(|stored| stored.event.time);
        let events = events.iter();
        let of_type = events.filter(|stored| stored.event.event_type == event_type);
        of_type
            .map(|stored| stored.event.event_id.clone().unwrap())
            .collect()
    }

    async fn until_trimmed(&self, event_type: &str) -> Vec<String> {
        let is_trimmed = async || self.stored(event_type).await.len() <= MOST_ANSWERS;
        until("the oldest answers are removed", is_trimmed).await;
        self.stored(event_type).await
    }
}

fn ids(event_type: &str, seconds_ago: std::ops::Range<u64>) -> Vec<String> {
    let oldest_first = seconds_ago.rev();
    oldest_first
        .map(|ago| format!("{event_type}-{ago}"))
        .collect()
}

#[tokio::test]
async fn the_newest_answers_stay_and_all_that_the_user_did() {
    for test in all() {
        test.append(&test.likes(3)).await;
        // In parts, the newest part first: the order of arrival does not matter.
        for part in (0..10_u64).map(|part| part * 40..part * 40 + 40) {
            test.append(&test.profiles("IDENTIFY", part)).await;
            test.until_trimmed("IDENTIFY").await;
        }
        let stored = test.until_trimmed("IDENTIFY").await;
        let newest = ids("IDENTIFY", 0..100);
        assert!(stored.ends_with(&newest), "{}: {stored:?}", test.name);
        assert_eq!(test.stored("like").await.len(), 3, "{}", test.name);

        // Others do not take their places.
        test.append(&test.profiles("quiz", 0..200)).await;
        let others = test.until_trimmed("quiz").await;
        assert!(others.ends_with(&ids("quiz", 0..100)), "{}", test.name);
        let stored = test.stored("IDENTIFY").await;
        assert!(stored.ends_with(&newest), "{}: {stored:?}", test.name);

        let observed = test.buffer.version(&user()).await.unwrap();
        let read = test.buffer.read(&user()).await.unwrap();
        assert_eq!(read.version, observed.version, "{}", test.name);
        if let Some(known) = test.buffer.known(&user(), &observed) {
            assert_eq!(known.events, read.events, "{}", test.name);
        }
    }
}

#[tokio::test]
async fn a_batch_of_answers_pushes_nothing_out_of_a_buffer() {
    for test in all() {
        test.append(&test.likes(150)).await;
        test.append(&test.profiles("IDENTIFY", 0..1_000)).await;
        let stored = test.until_trimmed("IDENTIFY").await;
        assert!(stored.ends_with(&ids("IDENTIFY", 0..100)), "{}", test.name);
        assert_eq!(test.stored("like").await.len(), 150, "{}", test.name);
    }
}

#[tokio::test]
async fn under_the_reference_preset_all_answers_are_kept() {
    let clock = TestClock::real();
    let budget = Arc::new(Budget::new(64 << 20));
    let memory = MemoryEventBuffer::new(clock.clone(), WINDOW, CAP, budget)
        .with_max_answers(max_answers(Preset::Reference));
    let test = UnderTest {
        name: "memory",
        buffer: Arc::new(memory),
        clock,
    };
    test.append(&test.profiles("IDENTIFY", 0..CAP as u64)).await;
    assert_eq!(test.stored("IDENTIFY").await.len(), CAP);
}
