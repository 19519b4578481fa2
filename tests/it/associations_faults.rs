//! Associations while their store fails, and whatever the order of events.

use proptest::{collection::vec, prelude::*};
use recsys::{
    domain::{ids::ContentId, ranking_config::RankingConfig},
    engine::{Degradation, Ports},
    ports::Deadline,
};
use tokio::runtime::Runtime;

use crate::support::{
    MemoryWorld,
    associations::{
        Act, ITEMS, USERS, acts, engine, ingest, is_collaborative, item, likes, list, rows, state,
        stored, user,
    },
    items::half_circle,
    program::{Served, recsys},
    proxy::{End, Proxy, Way},
    redis::{self, RedisServer},
    server::NOW,
};

/// Engines whose associations are in Redis behind a proxy, and all else within reach.
struct Behind {
    proxy: Proxy,
    proxied: Ports,
    direct: Ports,
    redis: &'static RedisServer,
    prefix: String,
}

impl Behind {
    async fn new() -> Self {
        let (redis, prefix) = (redis::shared(), redis::own_prefix());
        let world = MemoryWorld::new(NOW, &RankingConfig::default(), half_circle(20));
        let direct = redis::ports(&redis.pool(), &prefix, &world);
        let proxy = Proxy::to(redis.port()).await;
        let url = format!("redis://{}", proxy.address());
        let lost = redis::pool(&url, Default::default());
        let proxied = Ports {
            associations: std::sync::Arc::new(redis::association_store(&lost, &prefix)),
            ..direct.clone()
        };
        Self {
            proxy,
            proxied,
            direct,
            redis,
            prefix,
        }
    }

    async fn cut_off(&self) {
        self.proxy.refuse().await;
        self.proxy.reset();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_loses_redis_at_any_byte_is_completed_by_the_next() {
    let config = RankingConfig::default();
    let whole = Behind::new().await;
    let now = whole.direct.events.now().await.unwrap();
    let writer = engine(&whole.direct, &config);
    ingest(&writer, likes(now)).await;
    writer.refresh_associations().await.unwrap();
    let expected = (state(&whole.direct).await, rows(&whole.direct).await);
    assert!(expected.1.iter().all(|row| !row.is_empty()));

    let mut failed = 0;
    for after in (0..12).map(|step| step * 150 + 1) {
        let behind = Behind::new().await;
        let writer = engine(&behind.proxied, &config);
        ingest(&writer, likes(now)).await;
        behind.proxy.cut_after(after, Way::Replies, End::Reset);
        // A second connection would complete it.
        behind.proxy.turn_away();
        failed += usize::from(writer.refresh_associations().await.is_err());
        behind.proxy.heal().await;
        let reader = engine(&behind.direct, &config);
        assert_eq!(list(&reader, 0).await.degraded, []);
        writer.refresh_associations().await.unwrap();
        let now = (state(&behind.direct).await, rows(&behind.direct).await);
        assert_eq!(now, expected, "after {after} bytes");
    }
    assert!(failed > 3, "{failed} refreshes were cut");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_their_store_lists_go_on_and_events_are_acknowledged() {
    let config = RankingConfig::default();
    let behind = Behind::new().await;
    let now = behind.direct.events.now().await.unwrap();
    let writer = engine(&behind.proxied, &config);
    let mut events = likes(now);
    let last = events.split_off(events.len() - 3);
    ingest(&writer, events).await;
    writer.refresh_associations().await.unwrap();
    let before = list(&engine(&behind.proxied, &config), 0).await;
    assert!(is_collaborative(&before) && before.degraded.is_empty());

    behind.cut_off().await;
    ingest(&writer, last).await;
    let during = list(&engine(&behind.proxied, &config), 0).await;
    assert_eq!(during.degraded, [Degradation::Associations]);
    assert_eq!(during.items.len(), before.items.len());
    assert!(!is_collaborative(&during));
    let (lists, _) = state(&behind.direct).await;
    assert_eq!(lists[USERS - 1], None, "its store was lost");

    behind.proxy.heal().await;
    assert!(writer.rebuild_user(&user(USERS - 1)).await.unwrap());
    let (lists, audiences) = state(&behind.direct).await;
    assert!(lists.iter().all(Option::is_some));
    let members = audiences.values().flatten();
    let last = members.filter(|(user, _)| *user == format!("u{}", USERS - 1));
    assert_eq!(last.count(), 3);
}

#[tokio::test]
async fn an_unreadable_row_or_list_counts_as_missing_and_is_written_again() {
    let config = RankingConfig::default();
    let behind = Behind::new().await;
    let writer = engine(&behind.direct, &config);
    let now = behind.direct.events.now().await.unwrap();
    ingest(&writer, likes(now)).await;
    writer.refresh_associations().await.unwrap();
    let expected = (state(&behind.direct).await, rows(&behind.direct).await);
    for number in 0..ITEMS {
        let key = format!("{}nbr:i{number:03}", behind.prefix);
        assert_eq!(behind.redis.cli(&["SET", &key, "damaged"]), "OK");
    }
    let key = format!("{}lst:u0", behind.prefix);
    assert_eq!(behind.redis.cli(&["SET", &key, "damaged"]), "OK");

    let reader = engine(&behind.direct, &config);
    let read = list(&reader, 0).await;
    assert!(read.degraded.is_empty() && !read.items.is_empty());
    assert!(!is_collaborative(&read));
    assert!(reader.rebuild_user(&user(0)).await.unwrap());
    let items: Vec<ContentId> = (0..ITEMS).map(item).collect();
    reader.rebuild_items(&items).await.unwrap();
    let now = (state(&behind.direct).await, rows(&behind.direct).await);
    assert_eq!(now, expected);
    assert!(is_collaborative(
        &list(&engine(&behind.direct, &config), 0).await
    ));
}

#[tokio::test]
async fn a_process_without_associations_keeps_none_and_erases_those_of_others() {
    let on = RankingConfig::default();
    let mut off = on.clone();
    off.associations.enabled = false;
    let world = MemoryWorld::new(NOW, &on, half_circle(20));
    let (with, without) = (engine(&world.ports, &on), engine(&world.ports, &off));
    let now = recsys::ports::Clock::now(&*world.clock);
    let mut events = likes(now);
    let last = events.split_off(events.len() - 3);
    ingest(&with, events).await;
    with.refresh_associations().await.unwrap();
    ingest(&without, last).await;
    let (lists, _) = state(&world.ports).await;
    assert_eq!(lists[USERS - 1], None);

    let plain = list(&without, 0).await;
    assert!(plain.degraded.is_empty() && !plain.items.is_empty());
    assert!(!is_collaborative(&plain));
    assert!(is_collaborative(&list(&with, 0).await));

    assert!(without.delete_user(&user(0), Deadline::NONE).await.unwrap());
    let (lists, audiences) = state(&world.ports).await;
    assert_eq!(lists[0], None);
    assert!(audiences.values().flatten().all(|(user, _)| user != "u0"));
    // Made by the next build of a process that keeps them.
    let rebuilt = with.rebuild_user(&user(USERS - 1)).await.unwrap();
    let (lists, _) = state(&world.ports).await;
    assert!(rebuilt && lists[USERS - 1].is_some());
}

#[test]
fn an_acl_without_the_keys_of_associations_is_logged_at_the_start_with_its_rules() {
    let server = RedisServer::start();
    let rules = ["on", ">p", "~evt:*", "~umodel:*", "+@all"];
    let set = |rules: &[&str]| server.cli(&[&["ACL", "SETUSER", "app"], rules].concat());
    assert_eq!(set(&rules), "OK");
    let url = format!("redis://app:p@{}", server.address());
    let mut served = Served::start(recsys(&["serve"]).args(["--redis-url", &url]));
    let lacking = "acl_rules=\"~lst:* ~aud:* ~nbr:* ~pop ~trend\"";
    let log = served.logged("denies keys of associations");
    assert!(log.contains(lacking), "{log}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_order_repetition_and_batching_give_the_same_lists_and_audiences(
        acts in acts(),
        keys in vec(any::<u32>(), 120),
        batch in 1..9_usize,
        refresh_every in 1..5_usize,
    ) {
        let config = RankingConfig::default();
        let world = || MemoryWorld::new(NOW, &config, half_circle(20));
        let runtime = Runtime::new().unwrap();
        let (once, other) = (world(), world());
        let now = recsys::ports::Clock::now(&*once.clock);
        let (at_once, in_batches) = runtime.block_on(async {
            let whole = engine(&once.ports, &config);
            ingest(&whole, stored(acts.iter().copied(), now)).await;
            whole.refresh_associations().await.unwrap();

            let parts = engine(&other.ports, &config);
            let twice = acts.iter().chain(&acts).copied();
            let mut shuffled: Vec<(u32, Act)> = keys.iter().copied().zip(twice).collect();
            shuffled.sort_unstable();
            let shuffled: Vec<Act> = shuffled.into_iter().map(|(_, act)| act).collect();
            for (index, part) in shuffled.chunks(batch).enumerate() {
                ingest(&parts, stored(part.iter().copied(), now)).await;
                if index % refresh_every == 0 {
                    parts.refresh_associations().await.unwrap();
                }
            }
            parts.refresh_associations().await.unwrap();
            (state(&once.ports).await, state(&other.ports).await)
        });
        prop_assert_eq!(at_once, in_batches);
    }
}
