//! The outcome of a merge, compared with one user from the start.

use std::time::Duration;

use proptest::{collection::vec, prelude::*};
use recsys::{
    domain::{event::StoredEvent, event_member},
    engine::{MergedUsers, SignalsSource},
    ports::Deadline,
};
use tokio::runtime::Runtime;

use super::{Stores, engine, id, ingest, merge, next, texts};

/// What happens, in order.
#[derive(Clone, Debug)]
enum Action {
    /// An event of the visitor (`false`) or the account, by a number of its item and age.
    Event(bool, u8),
    Merge,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let event = (any::<bool>(), any::<u8>()).prop_map(|(user, event)| Action::Event(user, event));
    vec(prop_oneof![6 => event, 1 => Just(Action::Merge)], 0..40)
}

/// The event of a number, without an id if it is even: always the same bytes.
fn event(stores: &Stores, user: &str, number: u8) -> StoredEvent {
    let item = format!("i{:03}", number % 30);
    let mut event = stores.like(user, &item, 60 + u64::from(number)).event;
    event.event_type = ["like", "view", "dislike", "search", "CONTENT_VIEW_STARTED"]
        [usize::from(number) % 5]
        .to_owned();
    if number.is_multiple_of(2) {
        event.event_id = None;
    }
    event_member::encode(event).unwrap()
}

async fn equals_one_user(stores: &Stores, actions: &[Action]) {
    let run = next();
    let [visitor, account, alone] = ["v", "a", "b"].map(|kind| format!("{kind}{run}"));
    let engine = engine(stores.ports.clone());
    let merge = async || merge(&engine, &visitor, &account).await;
    let mut sent = [false; 256];
    for action in actions {
        match action {
            Action::Event(is_account, number) => {
                // The ids do not conflict: each event has one of the two users.
                if std::mem::replace(&mut sent[usize::from(*number)], true) {
                    continue;
                }
                let user = if *is_account { &account } else { &visitor };
                ingest(&engine, event(stores, user, *number)).await;
                ingest(&engine, event(stores, &alone, *number)).await;
            }
            Action::Merge => _ = merge().await,
        }
    }
    merge().await;
    assert_eq!(
        merge().await,
        MergedUsers::default(),
        "a repetition moves nothing"
    );
    let buffer = async |user: &str| {
        let read = stores.ports.events.read(&id(user)).await.unwrap();
        let members = read.events.iter().map(|stored| {
            let user = format!("\"user_id\":\"{user}\"");
            stored.member.replace(&user, "")
        });
        let mut members: Vec<String> = members.collect();
        members.sort();
        members
    };
    assert_eq!(
        buffer(&account).await,
        buffer(&alone).await,
        "the same members"
    );
    let model = async |user: &str| {
        let mut signals = (*engine.signals(&id(user)).await.unwrap().0).clone();
        signals.user_id = id("any");
        signals
    };
    let (merged, single) = (model(&account).await, model(&alone).await);
    if stores.name == "memory" {
        assert_eq!(merged, single, "{actions:?}");
    } else {
        // Built at different moments: weights decay meanwhile.
        assert_eq!(merged.interests, single.interests, "{actions:?}");
        assert_eq!(merged.viewed, single.viewed, "{actions:?}");
        assert_eq!(merged.event_count, single.event_count, "{actions:?}");
    }
    let (signals, source) = engine.signals(&id(&visitor)).await.unwrap();
    assert_eq!((signals.event_count, source), (0, SignalsSource::Empty));
    let lists = [id(&account), id(&alone), id(&visitor)];
    let lists = stores.ports.associations.lists(&lists).await.unwrap();
    assert_eq!(
        lists[0].present().map(|list| list.list().unwrap()),
        lists[1].present().map(|list| list.list().unwrap()),
    );
    assert!(lists[2].present().is_none());
    for item in 0..30 {
        let audience = stores.audience(&format!("i{item:03}")).await;
        let has = |user: &String| audience.contains(user);
        assert_eq!(has(&account), has(&alone), "{item} {actions:?}");
        assert!(!has(&visitor), "{item} {actions:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_merged_user_equals_one_user_from_the_start(actions in actions()) {
        Runtime::new().unwrap().block_on(async {
            equals_one_user(&Stores::memory().await, &actions).await;
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn a_merged_user_in_redis_equals_one_user_from_the_start(actions in actions()) {
        Runtime::new().unwrap().block_on(async {
            equals_one_user(&Stores::redis().await, &actions).await;
            equals_one_user(&Stores::cluster().await, &actions).await;
        });
    }
}

#[tokio::test]
async fn of_two_events_with_one_id_that_of_the_second_user_stays() {
    for stores in Stores::all().await {
        let (name, engine) = (stores.name, engine(stores.ports.clone()));
        ingest(&engine, stores.named("u", "i001", 30, "same")).await;
        ingest(&engine, stores.named("v", "i002", 40, "same")).await;
        ingest(&engine, stores.named("v", "i003", 700, "far")).await;
        ingest(&engine, stores.named("u", "i004", 20, "far")).await;
        let merged = merge(&engine, "v", "u").await;
        let expected = MergedUsers {
            moved: 1,
            duplicates: 1,
        };
        assert_eq!(merged, expected, "{name}");
        let (signals, _) = engine.signals(&id("u")).await.unwrap();
        let positives: Vec<&str> = signals.positives.keys().map(|id| id.as_str()).collect();
        assert_eq!(positives, ["i001", "i003", "i004"], "{name}");
        assert_eq!(
            stores.audience("i002").await,
            Vec::<String>::new(),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_large_user_is_moved_in_pages_and_the_newest_events_stay() {
    for stores in Stores::all().await {
        let (name, engine) = (stores.name, engine(stores.ports.clone()));
        let events: Vec<StoredEvent> = (0..5_000)
            .map(|number| stores.named("v", "i001", 10_000 + number, &format!("v{number}")))
            .collect();
        for result in engine.ingest_batch(events, Deadline::NONE).await.unwrap() {
            result.unwrap();
        }
        for number in 0..100 {
            ingest(
                &engine,
                stores.named("u", "i002", 10 + number, &format!("u{number}")),
            )
            .await;
        }
        let merged = merge(&engine, "v", "u").await;
        // The oldest do not fit.
        assert!(
            merged.moved >= 4_900 && merged.duplicates == 0,
            "{name}: {merged:?}"
        );
        let left = stores.events("u").await;
        assert_eq!(left.len(), 5_000, "{name}");
        assert!(left.contains("u99") && left.contains("v0") && left.contains("v4899"));
        assert!(
            !left.contains("v4900") && stores.events("v").await.is_empty(),
            "{name}"
        );
    }
}

#[tokio::test]
async fn unknown_users_and_late_events_can_be_merged() {
    for stores in Stores::all().await {
        let (name, engine) = (stores.name, engine(stores.ports.clone()));
        let merge = async || merge(&engine, "v", "u").await;
        assert_eq!(merge().await, MergedUsers::default(), "{name}");
        let (_, source) = engine.signals(&id("v")).await.unwrap();
        assert_eq!(source, SignalsSource::Empty, "{name}");
        ingest(&engine, stores.like("v", "i001", 5)).await;
        assert_eq!(merge().await.moved, 1, "{name}");
        // A late one, and a redelivery of the first.
        ingest(&engine, stores.like("v", "i002", 4)).await;
        ingest(&engine, stores.like("v", "i001", 5)).await;
        assert_eq!(stores.events("v").await.len(), 2, "{name}");
        let again = merge().await;
        assert_eq!((again.moved, again.duplicates), (1, 1), "{name}");
        assert_eq!(
            stores.events("u").await,
            texts(&["i001-5", "i002-4"]),
            "{name}"
        );
        // And the other way round: no marker is in the way.
        let back = engine.merge_users(&id("u"), &id("v"), Deadline::NONE).await;
        assert_eq!(back.unwrap().moved, 2, "{name}");
        assert_eq!(stores.events("v").await.len(), 2, "{name}");
    }
}

#[tokio::test]
async fn a_merge_ends_at_its_deadline() {
    let stores = Stores::memory().await;
    let engine = engine(stores.ports.clone());
    ingest(&engine, stores.like("v", "i001", 5)).await;
    let past = Deadline::at(std::time::Instant::now());
    let merged = engine.merge_users(&id("v"), &id("u"), past).await;
    assert!(merged.is_err());
    assert_eq!(stores.events("v").await.len(), 1);
    let soon = Deadline::at(std::time::Instant::now() + Duration::from_secs(60));
    let merged = engine.merge_users(&id("v"), &id("u"), soon).await;
    assert_eq!(merged.unwrap().moved, 1);
}
