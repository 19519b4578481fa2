use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{MAX_HELD_BYTES, Next, Noted, SaveQueue};
use crate::{
    domain::{ids::UserId, time::Timestamp, user_signals::UserSignals},
    engine::models::built_model::BuiltModel,
    ports::{ObservedVersion, StoredModel, Version},
};

const INTERVAL: Duration = Duration::from_secs(1);

fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

fn observed(version: u64) -> ObservedVersion {
    ObservedVersion {
        version: Some(Version(version)),
        observed_at: Timestamp::from_micros(1),
    }
}

fn built(version: u64) -> BuiltModel {
    BuiltModel {
        model: StoredModel {
            version: Version(version),
            ranking: None,
            incomplete: false,
            signals: Arc::new(UserSignals::empty(user("u"))),
        },
        read_at: Timestamp::from_micros(1),
        replaces: None,
        renews: false,
        cost: Duration::ZERO,
    }
}

fn note(queue: &SaveQueue, id: &str, version: u64) -> Noted {
    let received = Some((Instant::now(), 1));
    queue.note(&user(id), observed(version), received)
}

/// Takes what is due at a moment from now.
fn due(queue: &SaveQueue, later: Duration) -> Option<(UserId, Vec<usize>)> {
    match queue.next(Instant::now() + later) {
        Next::Save(user, work) => {
            let counts = work.received.iter().map(|(_, events)| *events).collect();
            Some((user, counts))
        }
        Next::Wait(_) | Next::End => None,
    }
}

#[test]
fn appends_within_an_interval_share_a_save() {
    let queue = SaveQueue::new(INTERVAL);
    assert_eq!(note(&queue, "u", 1), Noted::Queued);
    assert_eq!(note(&queue, "u", 2), Noted::Joined);
    assert_eq!(due(&queue, Duration::ZERO), None);
    assert_eq!(due(&queue, INTERVAL), Some((user("u"), vec![1, 1])));
    // While it is saved, a further append waits for another save.
    assert_eq!(note(&queue, "u", 3), Noted::Queued);
    assert_eq!(due(&queue, 9 * INTERVAL), None);
    queue.finish(&user("u"), None, Duration::ZERO);
    assert_eq!(due(&queue, Duration::ZERO), None);
    assert_eq!(due(&queue, INTERVAL), Some((user("u"), vec![1])));
    queue.finish(&user("u"), None, Duration::ZERO);
    assert!(matches!(queue.next(Instant::now()), Next::End));
}

#[test]
fn a_model_is_held_until_it_is_saved() {
    let queue = SaveQueue::new(INTERVAL);
    let u = user("u");
    assert!(queue.hold(&u, built(1)));
    assert!(due(&queue, INTERVAL).is_some());
    assert!(queue.held(&u).is_some(), "while it is saved");
    // A newer one, built during the save.
    assert!(queue.hold(&u, built(2)));
    queue.finish(&u, Some(built(1).model.rank()), Duration::ZERO);
    assert_eq!(queue.held(&u).unwrap().model.version, Version(2));
    assert!(due(&queue, INTERVAL).is_some());
    queue.finish(&u, Some(built(2).model.rank()), Duration::ZERO);
    assert!(queue.held(&u).is_none());
    assert_eq!(queue.lock().held_bytes, 0);
    assert!(queue.lock().by_user.is_empty());
}

#[test]
fn a_full_queue_takes_no_more_users() {
    let queue = SaveQueue::bounded(INTERVAL, 2);
    assert_eq!(note(&queue, "a", 1), Noted::Queued);
    assert!(queue.hold(&user("b"), built(1)));
    assert_eq!(note(&queue, "c", 1), Noted::Dropped);
    assert!(!queue.hold(&user("c"), built(1)));
    assert_eq!(note(&queue, "a", 2), Noted::Joined);
}

#[test]
fn a_user_with_a_dear_model_takes_a_hundredth_of_a_core() {
    let queue = SaveQueue::new(INTERVAL);
    note(&queue, "u", 1);
    assert!(due(&queue, INTERVAL).is_some());
    queue.finish(&user("u"), None, Duration::from_millis(200));
    note(&queue, "u", 2);
    assert_eq!(due(&queue, Duration::from_secs(19)), None);
    assert!(due(&queue, Duration::from_secs(20)).is_some());
}

#[test]
fn a_forgotten_user_is_neither_held_nor_due() {
    let queue = SaveQueue::new(INTERVAL);
    let u = user("u");
    note(&queue, "u", 1);
    queue.hold(&u, built(1));
    queue.forget(&u);
    assert!(queue.held(&u).is_none());
    assert!(matches!(queue.next(Instant::now() + INTERVAL), Next::End));
    // During a save.
    note(&queue, "u", 1);
    assert!(due(&queue, INTERVAL).is_some());
    queue.hold(&u, built(1));
    queue.forget(&u);
    queue.finish(&u, None, Duration::ZERO);
    assert!(queue.lock().by_user.is_empty());
}

#[test]
fn a_flush_makes_everything_due() {
    let queue = SaveQueue::new(INTERVAL);
    note(&queue, "u", 1);
    let flushing = queue.flush();
    assert!(due(&queue, Duration::ZERO).is_some());
    drop(flushing);
    note(&queue, "v", 1);
    assert_eq!(due(&queue, Duration::ZERO), None);
}

#[test]
fn the_lag_of_many_events_is_kept_in_bounds_and_counts_all() {
    let queue = SaveQueue::new(INTERVAL);
    for version in 0..1_000 {
        note(&queue, "u", version);
    }
    let (_, counts) = due(&queue, INTERVAL).unwrap();
    assert!(counts.len() <= 64);
    assert_eq!(counts.iter().sum::<usize>(), 1_000);
}

#[test]
fn an_append_is_unbuilt_until_a_model_of_its_version_is_built_held_or_not() {
    let queue = SaveQueue::new(INTERVAL);
    let unbuilt = || queue.unbuilt(&user("u")).and_then(|noted| noted.version);
    assert_eq!(unbuilt(), None);
    note(&queue, "u", 1);
    assert_eq!(unbuilt(), Some(Version(1)));
    assert!(queue.hold(&user("u"), built(1)));
    assert_eq!(unbuilt(), None);
    note(&queue, "u", 2);
    assert_eq!(unbuilt(), Some(Version(2)));
    queue.lock().held_bytes = MAX_HELD_BYTES;
    assert!(!queue.hold(&user("u"), built(2)), "there is no room");
    assert_eq!(unbuilt(), None);
}
