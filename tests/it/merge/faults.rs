//! Merges that are interrupted at each of their steps.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use recsys::{
    engine::{Ports, SignalsSource},
    ports::{Deadline, StoreError, StoreErrorKind},
};

use super::{
    Stores, engine, id, ingest, merge, next,
    steps::{Interruption, Steps},
    texts,
};
use crate::support::redis::{RedisServer, own_prefix, ports};

/// A visitor with 40 events, in two pages, and an account with one.
async fn two_users(stores: &Stores) -> (String, String, BTreeSet<String>) {
    let run = next();
    let (visitor, account) = (format!("v{run}"), format!("u{run}"));
    let engine = engine(stores.ports.clone());
    let mut all = BTreeSet::new();
    for number in 0..40 {
        let event = stores.like(&visitor, &format!("i{:03}", number % 20), 100 + number);
        all.insert(event.event.event_id.clone().unwrap());
        ingest(&engine, event).await;
    }
    let event = stores.like(&account, "i025", 50);
    all.insert(event.event.event_id.clone().unwrap());
    ingest(&engine, event).await;
    (visitor, account, all)
}

/// Whether nothing of the visitor is left, and the account is complete.
async fn assert_merged(stores: &Stores, at: usize, users: (&str, &str), all: &BTreeSet<String>) {
    let ((visitor, account), name) = (users, stores.name);
    assert_eq!(&stores.events(account).await, all, "{name}, step {at}");
    assert!(stores.events(visitor).await.is_empty(), "{name}, step {at}");
    let engine = engine(stores.ports.clone());
    let (signals, _) = engine.signals(&id(account)).await.unwrap();
    assert_eq!(signals.event_count, all.len(), "{name}, step {at}");
    let (_, source) = engine.signals(&id(visitor)).await.unwrap();
    assert_eq!(source, SignalsSource::Empty, "{name}, step {at}");
    for item in (0..20).chain([25]) {
        let audience = stores.audience(&format!("i{item:03}")).await;
        assert!(
            audience.contains(&account.to_owned()),
            "{name}, step {at}: {item}"
        );
        assert!(
            !audience.contains(&visitor.to_owned()),
            "{name}, step {at}: {item}"
        );
    }
}

/// A step of a merge.
#[derive(Clone, Copy)]
struct Step {
    at: usize,
    /// If not, the merge had fewer steps.
    was_reached: bool,
}

/// Merges with `interruption` at each step in turn, and passes each outcome to `check`.
async fn at_each_step(
    stores: &Stores,
    interruption: impl Fn(Ports, String, String) -> Interruption,
    check: impl AsyncFn(Step, &str, &str, BTreeSet<String>),
) {
    for at in 0.. {
        let (visitor, account, all) = two_users(stores).await;
        let hook = interruption(stores.ports.clone(), visitor.clone(), account.clone());
        let (steps, ports) = Steps::new(&stores.ports, at, hook);
        let merging = engine(ports);
        let _ = merging
            .merge_users(&id(&visitor), &id(&account), Deadline::NONE)
            .await;
        merging.finish().await;
        let was_reached = steps.was_reached();
        check(Step { at, was_reached }, &visitor, &account, all).await;
        if !was_reached {
            assert!(at > 20, "{at} steps");
            return;
        }
    }
}

#[tokio::test]
async fn a_merge_that_fails_at_any_step_loses_nothing_and_a_repetition_completes_it() {
    for stores in [Stores::memory().await, Stores::redis().await] {
        let fails = |_, _, _| -> Interruption {
            let error = StoreError::new(StoreErrorKind::Unavailable, "killed");
            Box::pin(async move { Err(error) })
        };
        at_each_step(
            &stores,
            fails,
            async |Step { at, .. }, visitor, account, all| {
                let mut either = stores.events(visitor).await;
                either.extend(stores.events(account).await);
                assert_eq!(either, all, "step {at}");
                merge(&engine(stores.ports.clone()), visitor, account).await;
                assert_merged(&stores, at, (visitor, account), &all).await;
            },
        )
        .await;
    }
}

#[tokio::test]
async fn an_event_that_arrives_at_any_step_of_a_merge_is_not_lost() {
    for stores in [Stores::memory().await, Stores::redis().await] {
        let late = |stores: &Stores, user: &str| stores.like(user, "i010", 7);
        let arrives = |ports: Ports, visitor: String, _| -> Interruption {
            let event = late(&stores, &visitor);
            Box::pin(async move {
                ingest(&engine(ports), event).await;
                Ok(())
            })
        };
        at_each_step(&stores, arrives, async |step, visitor, account, mut all| {
            let at = step.at;
            if step.was_reached {
                all.insert("i010-7".to_owned());
            }
            let mut either = stores.events(visitor).await;
            either.extend(stores.events(account).await);
            assert_eq!(either, all, "step {at}");
            // What is left with the visitor is in the visitor's model.
            let engine = engine(stores.ports.clone());
            let left = stores.events(visitor).await.len();
            let (signals, _) = engine.signals(&id(visitor)).await.unwrap();
            assert_eq!(signals.event_count, left, "step {at}");
            merge(&engine, visitor, account).await;
            assert_merged(&stores, at, (visitor, account), &all).await;
        })
        .await;
    }
}

#[tokio::test]
async fn the_first_user_can_be_erased_at_any_step_of_a_merge() {
    for stores in [Stores::memory().await, Stores::redis().await] {
        let erased = |ports: Ports, visitor: String, _| -> Interruption {
            Box::pin(async move {
                let engine = engine(ports);
                engine
                    .delete_user(&id(&visitor), Deadline::NONE)
                    .await
                    .unwrap();
                Ok(())
            })
        };
        at_each_step(
            &stores,
            erased,
            async |Step { at, .. }, visitor, account, all| {
                assert!(stores.events(visitor).await.is_empty(), "step {at}");
                let engine = engine(stores.ports.clone());
                let (_, source) = engine.signals(&id(visitor)).await.unwrap();
                assert_eq!(source, SignalsSource::Empty, "step {at}");
                for item in 0..20 {
                    let audience = stores.audience(&format!("i{item:03}")).await;
                    assert!(!audience.contains(&visitor.to_owned()), "step {at}: {item}");
                }
                let events = stores.events(account).await;
                assert!(
                    events.is_subset(&all) && events.contains("i025-50"),
                    "step {at}"
                );
                // Both go on: nothing that comes later is refused.
                for user in [visitor, account] {
                    ingest(&engine, stores.like(user, "i029", 1)).await;
                    assert!(stores.events(user).await.contains("i029-1"), "step {at}");
                    let (signals, _) = engine.signals(&id(user)).await.unwrap();
                    assert_eq!(signals.event_count, stores.events(user).await.len());
                }
            },
        )
        .await;
    }
}

#[tokio::test]
async fn the_second_user_can_be_erased_at_any_step_of_a_merge() {
    for stores in [Stores::memory().await, Stores::redis().await] {
        let erased = |ports: Ports, _, account: String| -> Interruption {
            Box::pin(async move {
                let engine = engine(ports);
                engine
                    .delete_user(&id(&account), Deadline::NONE)
                    .await
                    .unwrap();
                Ok(())
            })
        };
        at_each_step(
            &stores,
            erased,
            async |Step { at, .. }, visitor, account, all| {
                let events = stores.events(account).await;
                assert!(events.is_subset(&all), "step {at}");
                let engine = engine(stores.ports.clone());
                let (signals, _) = engine.signals(&id(account)).await.unwrap();
                assert_eq!(signals.event_count, events.len(), "step {at}");
                assert!(stores.events(visitor).await.is_empty(), "step {at}");
                ingest(&engine, stores.like(account, "i029", 1)).await;
                assert_eq!(
                    stores.events(account).await.len(),
                    events.len() + 1,
                    "step {at}"
                );
            },
        )
        .await;
    }
}

#[tokio::test]
async fn a_merge_completes_although_redis_is_killed_at_any_step() {
    let server = Arc::new(std::sync::Mutex::new(RedisServer::start()));
    let pool = server.lock().unwrap().pool();
    let world = crate::support::MemoryWorld::new(
        crate::support::server::NOW,
        &Default::default(),
        crate::support::items::half_circle(30),
    );
    let stores = Stores::new("redis", ports(&pool, &own_prefix(), &world), world).await;
    let killed = |_, _, _| -> Interruption {
        let server = Arc::clone(&server);
        Box::pin(async move {
            let mut server = server.lock().unwrap();
            server.kill();
            server.restart();
            Ok(())
        })
    };
    at_each_step(
        &stores,
        killed,
        async |Step { at, .. }, visitor, account, all| {
            // The connections of the pool are renewed.
            while engine(stores.ports.clone())
                .merge_users(&id(visitor), &id(account), Deadline::NONE)
                .await
                .is_err()
            {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert_merged(&stores, at, (visitor, account), &all).await;
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn merges_and_appends_at_once_lose_no_event() {
    for stores in [Stores::redis().await, Stores::cluster().await] {
        let engines = [engine(stores.ports.clone()), engine(stores.ports.clone())];
        let mut tasks = Vec::new();
        for (number, user) in ["v", "u", "v"].into_iter().enumerate() {
            let engine = engines[number % 2].clone();
            let events: Vec<_> = (0..40)
                .map(|event| {
                    let ago = 60 + event;
                    stores.named(user, "i001", ago, &format!("{number}-{event}"))
                })
                .collect();
            tasks.push(tokio::spawn(async move {
                for event in events {
                    ingest(&engine, event).await;
                }
            }));
        }
        for engine in engines.clone() {
            tasks.push(tokio::spawn(async move {
                for _ in 0..10 {
                    merge(&engine, "v", "u").await;
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        merge(&engines[0], "v", "u").await;
        assert_eq!(stores.events("u").await.len(), 120, "{}", stores.name);
        assert_eq!(stores.events("v").await, texts(&[]), "{}", stores.name);
    }
}
