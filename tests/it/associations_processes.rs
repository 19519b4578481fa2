//! Associations of several processes: one dies in the middle of its writes, two work at
//! the same time, Redis is full.

use std::{sync::atomic::Ordering, time::Duration};

use proptest::{collection::vec, prelude::*};
use recsys::{
    domain::{
        ids::{ContentId, UserId},
        ranking_config::RankingConfig,
        time::Timestamp,
    },
    engine::{AssociationSettings, Engine, EngineError, EngineSettings, Ports},
    ports::{Deadline, StoreErrorKind},
};
use tokio::runtime::Runtime;

use crate::support::{
    MemoryWorld,
    associations::{
        Act, ITEMS, Rows, State, USERS, acts, engine, event, ingest, is_collaborative, item, likes,
        list, rows, state, stored, user,
    },
    hanging::Hanging,
    items::half_circle,
    redis::{self, RedisServer},
    server::NOW,
    until,
};

/// Three likes of the last user, who is new.
const LAST: usize = USERS - 1;

fn memory() -> Ports {
    MemoryWorld::new(NOW, &RankingConfig::default(), half_circle(20)).ports
}

fn on_redis() -> Ports {
    let world = MemoryWorld::new(NOW, &RankingConfig::default(), half_circle(20));
    redis::ports(&redis::shared().pool(), &redis::own_prefix(), &world)
}

fn all_items() -> Vec<ContentId> {
    (0..ITEMS).map(item).collect()
}

async fn audiences_with(ports: &Ports, member: &UserId) -> usize {
    let (_, audiences) = state(ports).await;
    let members = audiences.values().flatten();
    members.filter(|(user, _)| user == member.as_str()).count()
}

/// The events of [`likes`] in the stores, the last user's by a process that dies after it
/// has written the audiences and before it writes the list.
async fn written_by_a_dying_process(ports: &Ports, now: Timestamp) {
    let config = RankingConfig::default();
    let mut events = likes(now);
    let last = events.split_off(events.len() - 3);
    ingest(&engine(ports, &config), events).await;

    let stores = Hanging::new(ports.clone());
    stores.lists.store(true, Ordering::SeqCst);
    let dying = engine(&stores.ports(), &config);
    let ingesting = tokio::spawn(async move { ingest(&dying, last).await });
    until("the audiences are written", async || {
        audiences_with(ports, &user(LAST)).await == 3
    })
    .await;
    // Its other tasks wait for the list forever.
    ingesting.abort();
    let (lists, _) = state(ports).await;
    assert_eq!(lists[LAST], None);
}

#[tokio::test]
async fn what_a_process_that_died_between_audience_and_list_did_not_write_the_next_build_writes() {
    let config = RankingConfig::default();
    for (whole, ports) in [(memory(), memory()), (on_redis(), on_redis())] {
        let now = ports.events.now().await.unwrap();
        let undisturbed = engine(&whole, &config);
        ingest(&undisturbed, likes(now)).await;
        undisturbed.refresh_associations().await.unwrap();
        let expected = (state(&whole).await, rows(&whole).await);

        written_by_a_dying_process(&ports, now).await;
        let survivor = engine(&ports, &config);
        // The buffer is newer than the list that is missing: the member stays.
        survivor.rebuild_items(&all_items()).await.unwrap();
        assert_eq!(audiences_with(&ports, &user(LAST)).await, 3);

        let read = list(&survivor, LAST).await;
        assert_eq!(read.degraded, []);
        assert!(is_collaborative(&read), "the events were acknowledged");
        survivor.refresh_associations().await.unwrap();
        assert_eq!((state(&ports).await, rows(&ports).await), expected);
    }
}

#[tokio::test]
async fn a_user_whom_a_dying_process_left_in_audiences_is_erased_from_them() {
    let config = RankingConfig::default();
    for ports in [memory(), on_redis()] {
        let now = ports.events.now().await.unwrap();
        written_by_a_dying_process(&ports, now).await;
        let survivor = engine(&ports, &config);
        let deleted = survivor.delete_user(&user(LAST), Deadline::NONE).await;
        assert!(deleted.unwrap());
        assert_eq!(audiences_with(&ports, &user(LAST)).await, 0);
    }
}

#[tokio::test]
async fn a_process_refreshes_the_items_of_a_list_that_it_replaces_without_having_read_it() {
    let config = RankingConfig::default();
    for ports in [memory(), on_redis()] {
        let now = ports.events.now().await.unwrap();
        let ago = |seconds| now.minus(Duration::from_secs(seconds));
        // Both read that the user has no list, and wait before they write one.
        let processes = [(); 2].map(|()| Hanging::new(ports.clone()));
        let [first, second] = &processes;
        for stores in &processes {
            stores.lists.store(true, Ordering::SeqCst);
        }
        let engines = [first, second].map(|stores| engine(&stores.ports(), &config));
        let ingesting = |number: usize, events| {
            let engine = engines[number].clone();
            tokio::spawn(async move { ingest(&engine, events).await })
        };
        let audiences = async |wanted| audiences_with(&ports, &user(0)).await == wanted;
        let liking = ingesting(0, vec![event("like", 0, 1, ago(9))]);
        until("the first process has read", async || audiences(1).await).await;
        let disliking = ingesting(
            1,
            vec![event("dislike", 0, 1, ago(8)), event("like", 0, 2, ago(7))],
        );
        until("the second process has read", async || audiences(2).await).await;
        first.lists.store(false, Ordering::SeqCst);
        liking.await.unwrap();
        second.lists.store(false, Ordering::SeqCst);
        disliking.await.unwrap();

        engines[1].refresh_associations().await.unwrap();
        let (lists, audiences) = state(&ports).await;
        assert!(lists[0].is_some());
        let of = |about: usize| {
            let members = audiences.get(item(about).as_str()).into_iter().flatten();
            members.map(|(user, _)| user.clone()).collect::<Vec<_>>()
        };
        assert_eq!((of(1), of(2)), (vec![], vec![user(0).as_str().to_owned()]));
    }
}

/// An engine that saves behind the acknowledgement, later than this test takes.
fn saving_later(ports: &Ports) -> Engine {
    let settings = EngineSettings {
        model_save_interval: Duration::from_secs(3_600),
        associations: AssociationSettings {
            background: false,
            ..AssociationSettings::default()
        },
        ..EngineSettings::default()
    };
    Engine::new(ports.clone(), RankingConfig::default(), settings)
}

#[tokio::test]
async fn with_a_full_redis_lists_go_on_and_nothing_acknowledged_is_lost() {
    let config = RankingConfig::default();
    let server = RedisServer::with(&["--maxmemory-policy", "noeviction"]);
    let world = MemoryWorld::new(NOW, &config, half_circle(20));
    let ports = redis::ports(&server.pool(), "", &world);
    let now = ports.events.now().await.unwrap();
    let mut events = likes(now);
    let last = events.split_off(events.len() - 3);
    let writer = engine(&ports, &config);
    ingest(&writer, events).await;
    writer.refresh_associations().await.unwrap();
    let late = saving_later(&ports);
    ingest(&late, last).await;

    assert_eq!(server.cli(&["CONFIG", "SET", "maxmemory", "1"]), "OK");
    let refused = late
        .ingest(event("like", 0, 5, now), Deadline::NONE)
        .await
        .unwrap_err();
    let EngineError::Store { source, .. } = &refused else {
        panic!("{refused}");
    };
    assert_eq!(source.kind(), StoreErrorKind::Full, "{source}");
    // Everything can be read: lists are whole, on this process and on a new one.
    for engine in [&late, &engine(&ports, &config)] {
        for of in [0, LAST] {
            let read = list(engine, of).await;
            assert_eq!(read.degraded, [], "u{of}");
            assert!(is_collaborative(&read), "u{of}");
        }
    }
    let (signals, _) = late.signals(&user(LAST)).await.unwrap();
    assert_eq!(signals.event_count, 3, "all that was acknowledged");
    late.rebuild_items(&all_items()).await.unwrap_err();
    assert_eq!(audiences_with(&ports, &user(LAST)).await, 0);

    assert_eq!(server.cli(&["CONFIG", "SET", "maxmemory", "0"]), "OK");
    ingest(&late, vec![event("like", 0, 5, now)]).await;
    late.finish().await;
    let reader = engine(&ports, &config);
    assert!(reader.rebuild_user(&user(LAST)).await.unwrap());
    reader.rebuild_items(&all_items()).await.unwrap();
    let healed = (state(&ports).await, rows(&ports).await);

    let whole = memory_at(now);
    let undisturbed = engine(&whole, &config);
    ingest(&undisturbed, likes(now)).await;
    ingest(&undisturbed, vec![event("like", 0, 5, now)]).await;
    undisturbed.rebuild_items(&all_items()).await.unwrap();
    assert_eq!(healed, (state(&whole).await, rows(&whole).await));
}

/// Stores in memory whose time is this one.
fn memory_at(now: Timestamp) -> Ports {
    let world = MemoryWorld::new(NOW, &RankingConfig::default(), half_circle(20));
    world.clock.set(now);
    world.ports
}

/// What two processes do at the same time: each ingests a part and, or, refreshes.
#[derive(Clone, Debug)]
struct Step {
    events: [Vec<Act>; 2],
    refreshes: [bool; 2],
    pause: Duration,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let events = || vec(act(), 0..6);
    let pause = (0..4_000_u64).prop_map(Duration::from_millis);
    let step = ([events(), events()], any::<[bool; 2]>(), pause);
    let step = step.prop_map(|(events, refreshes, pause)| Step {
        events,
        refreshes,
        pause,
    });
    vec(step, 1..8)
}

fn act() -> impl Strategy<Value = Act> {
    acts().prop_map(|acts| acts[0])
}

/// Runs the steps on two engines over these stores.
async fn run_by_two(ports: &Ports, steps: &[Step], now: Timestamp, pause: impl Fn(Duration)) {
    let config = RankingConfig::default();
    let two = [engine(ports, &config), engine(ports, &config)];
    for step in steps {
        let working = [0, 1].map(|number| {
            let (engine, refreshes) = (two[number].clone(), step.refreshes[number]);
            let events = stored(step.events[number].iter().copied(), now);
            tokio::spawn(async move {
                ingest(&engine, events).await;
                if refreshes {
                    engine.refresh_associations().await.unwrap();
                }
            })
        });
        for work in working {
            work.await.unwrap();
        }
        pause(step.pause);
    }
    for engine in &two {
        engine.refresh_associations().await.unwrap();
    }
}

/// What one process makes of all events of the steps.
async fn run_by_one(ports: &Ports, steps: &[Step], now: Timestamp) {
    let one = engine(ports, &RankingConfig::default());
    let all = steps.iter().flat_map(|step| step.events.iter().flatten());
    ingest(&one, stored(all.copied(), now)).await;
    one.refresh_associations().await.unwrap();
}

/// The states of two processes and of one, as they leave them and after a rebuild of all
/// items. The audiences are equal after the rebuild only: a user leaves the audience of an
/// item when the item's row is refreshed, and a row is not due by every change.
struct Ends {
    left: [State; 2],
    rebuilt: [(State, Rows); 2],
}

async fn ends(
    by_two: &Ports,
    by_one: &Ports,
    steps: &[Step],
    now: Timestamp,
    pause: impl Fn(Duration),
) -> Ends {
    run_by_two(by_two, steps, now, pause).await;
    run_by_one(by_one, steps, now).await;
    let left = [state(by_two).await, state(by_one).await];
    // A row is not due by every change: all are built once more.
    let items = all_items();
    for ports in [by_two, by_one] {
        let engine = engine(ports, &RankingConfig::default());
        engine.rebuild_items(&items).await.unwrap();
    }
    let rebuilt = [
        (state(by_two).await, rows(by_two).await),
        (state(by_one).await, rows(by_one).await),
    ];
    Ends { left, rebuilt }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn two_processes_that_ingest_and_refresh_together_end_where_one_does(steps in steps()) {
        let runtime = Runtime::new().unwrap();
        let world = MemoryWorld::new(NOW, &RankingConfig::default(), half_circle(20));
        let now = recsys::ports::Clock::now(&*world.clock);
        let clock = world.clock.clone();
        let pause = move |time| clock.advance(time);
        let Ends { left, rebuilt } =
            runtime.block_on(ends(&world.ports, &memory(), &steps, now, pause));
        prop_assert_eq!(&left[0].0, &left[1].0, "lists");
        prop_assert_eq!(&rebuilt[0], &rebuilt[1]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn two_processes_on_redis_end_where_one_does(steps in steps()) {
        let runtime = Runtime::new().unwrap();
        let (two, now) = runtime.block_on(async {
            let ports = on_redis();
            let now = ports.events.now().await.unwrap();
            (ports, now)
        });
        let one = memory_at(now);
        let Ends { left, rebuilt } = runtime.block_on(ends(&two, &one, &steps, now, |_| {}));
        prop_assert_eq!(&left[0].0, &left[1].0, "lists");
        prop_assert_eq!(&rebuilt[0], &rebuilt[1]);
    }
}
