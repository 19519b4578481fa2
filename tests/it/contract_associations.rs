//! The contract of `AssociationStore`, for every implementation of it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use recsys::{
    adapters::{
        memory::{Budget, MemoryAssociationStore},
        redis::RedisPool,
        system::SystemClock,
    },
    domain::{
        associations::{
            AssociationsConfig, InterestEntry, InterestList, InterestStrength, NeighborRow,
            neighbor_row,
        },
        ids::{ContentId, UserId},
        time::Timestamp,
    },
    ports::{
        AssociationStore, AudienceChanges, Clock, Engagement, ListSlot, MAX_POPULAR, MAX_READ_AGE,
        PopularityRanking, Rank, SavedList, StoreErrorKind, StoredList, Version, WriteOutcome,
    },
};

use crate::support::{DAY, TestClock, WINDOW, redis};

struct UnderTest {
    store: Arc<dyn AssociationStore>,
    now: Timestamp,
}

fn memory() -> UnderTest {
    let budget = Arc::new(Budget::new(64 << 20));
    let clock = Arc::new(SystemClock);
    UnderTest {
        now: clock.now(),
        store: Arc::new(MemoryAssociationStore::new(clock, WINDOW, budget)),
    }
}

fn redis(pool: RedisPool) -> UnderTest {
    UnderTest {
        store: Arc::new(redis::association_store(&pool, &redis::own_prefix())),
        now: SystemClock.now(),
    }
}

fn all() -> Vec<UnderTest> {
    vec![
        memory(),
        redis(redis::shared().pool()),
        redis(redis::shared_cluster().pool()),
    ]
}

fn with_movable_time() -> (Arc<TestClock>, UnderTest) {
    let clock = TestClock::at("2026-06-10T12:00:00Z");
    let budget = Arc::new(Budget::new(64 << 20));
    let store = Arc::new(MemoryAssociationStore::new(clock.clone(), WINDOW, budget));
    let now = clock.now();
    (clock, UnderTest { store, now })
}

fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

/// A reference that a call under way can hold.
fn id_of(id: &str) -> &'static UserId {
    Box::leak(Box::new(user(id)))
}

fn item_of(id: &str) -> &'static ContentId {
    Box::leak(Box::new(id.into()))
}

impl UnderTest {
    /// The time this many seconds ago.
    fn ago(&self, seconds: u64) -> Timestamp {
        self.now.minus(Duration::from_secs(seconds))
    }

    fn engagements(&self, ages: &[(&str, u64)]) -> Vec<Engagement> {
        let engagement =
            |(item, seconds): &(&str, u64)| (ContentId::from(*item), self.ago(*seconds));
        ages.iter().map(engagement).collect()
    }

    async fn join(&self, id: &str, ages: &[(&str, u64)]) {
        let engagements = self.engagements(ages);
        let refused = self
            .store
            .join_audiences(id_of(id), &engagements, 4, self.now);
        assert_eq!(refused.await.unwrap(), []);
    }

    /// Users with the ages of their engagements in seconds.
    async fn audience(&self, item: &str) -> Vec<(String, f64)> {
        let audience = self.store.audience(item_of(item), 4).await.unwrap();
        let members = audience.members().iter();
        members
            .map(|member| {
                let age = self.now.seconds_since(member.time);
                (member.user.as_str().to_owned(), age)
            })
            .collect()
    }

    async fn users(&self, item: &str) -> Vec<String> {
        let audience = self.audience(item).await;
        audience.into_iter().map(|(user, _)| user).collect()
    }

    fn list(&self, version: u64, built_ago: u64, items: &[&str]) -> StoredList {
        let entries = (0..).zip(items).map(|(n, item)| InterestEntry {
            item: (*item).into(),
            time: Timestamp::from_micros(self.now.as_micros() - 1_000_000 + n),
            strength: InterestStrength::Full,
        });
        let rank = (Version(version), Some(self.ago(built_ago)));
        StoredList::new(rank, &InterestList::new(entries.collect(), 200))
    }

    async fn save(&self, id: &str, list: &StoredList, replaces: Option<Rank>) -> WriteOutcome {
        let store = &self.store;
        let saved = store.save_list(id_of(id), list, replaces, None, self.now);
        saved.await.unwrap().outcome
    }

    async fn slot(&self, id: &str) -> ListSlot {
        let mut slots = self.store.lists(&[user(id)]).await.unwrap();
        slots.remove(0)
    }

    fn row(&self, item: &str, others: &[&str], built_ago: u64) -> NeighborRow {
        let entries = (0..).zip(others).map(|(n, item)| InterestEntry {
            item: (*item).into(),
            time: Timestamp::from_micros(n),
            strength: InterestStrength::Half,
        });
        let list = InterestList::new(entries.collect(), 200);
        let config = AssociationsConfig::default();
        neighbor_row(
            item,
            [list.iter()],
            |id| id,
            |_| 3,
            self.ago(built_ago),
            &config,
        )
    }

    async fn save_row(&self, item: &str, row: &NeighborRow) -> WriteOutcome {
        self.store.save_row(item_of(item), row).await.unwrap()
    }

    async fn stored_row(&self, item: &str) -> Option<NeighborRow> {
        let mut rows = self.store.rows(&[item.into()]).await.unwrap();
        rows.remove(0)
    }

    async fn ranking(&self, ranking: PopularityRanking) -> BTreeMap<String, f64> {
        let items = self.store.popularity(ranking).await.unwrap();
        let text = |(item, key): (ContentId, f64)| (item.to_string(), key);
        items.into_iter().map(text).collect()
    }
}

#[tokio::test]
async fn an_audience_has_the_newest_members_and_larger_ids_first() {
    for test in all() {
        assert_eq!(test.audience("i").await, []);
        for (id, age) in [("u9", 50), ("u10", 50), ("é", 50), ("old", 90), ("new", 10)] {
            test.join(id, &[("i", age), ("of one", 7)]).await;
        }
        assert_eq!(test.users("i").await, ["new", "é", "u9", "u10"]);
        assert_eq!(test.audience("i").await[0].1, 10.0);
        let sizes = ["i", "none", "of one"].map(ContentId::from);
        let sizes = test.store.audience_sizes(&sizes).await.unwrap();
        assert_eq!(sizes, [4, 0, 4]);
    }
}

#[tokio::test]
async fn the_time_of_a_member_never_falls_and_joining_again_changes_nothing() {
    for test in all() {
        for age in [20, 40, 20] {
            test.join("u", &[("i", age)]).await;
        }
        assert_eq!(test.audience("i").await, [("u".to_owned(), 20.0)]);
        test.join("u", &[("i", 10)]).await;
        assert_eq!(test.audience("i").await, [("u".to_owned(), 10.0)]);
    }
}

#[tokio::test]
async fn times_are_kept_to_the_microsecond() {
    for test in all() {
        for micros in [1, 2, 3, 999_999] {
            let time = Timestamp::from_micros(test.now.as_micros() - micros);
            let id = user(&micros.to_string());
            let joined = test
                .store
                .join_audiences(&id, &[("i".into(), time)], 4, test.now)
                .await;
            joined.unwrap();
        }
        let audience = test.store.audience(item_of("i"), 4).await.unwrap();
        let ages = audience.members().iter();
        let ages: Vec<i64> = ages
            .map(|member| test.now.as_micros() - member.time.as_micros())
            .collect();
        assert_eq!(ages, [1, 2, 3, 999_999]);
    }
}

#[tokio::test]
async fn a_user_leaves_an_audience_unless_the_time_there_is_later() {
    for test in all() {
        for id in ["u", "v"] {
            test.join(id, &[("a", 20), ("b", 20), ("c", 20)]).await;
        }
        let left = test.engagements(&[("a", 20), ("b", 10), ("c", 30), ("none", 1)]);
        let refused = test.store.leave_audiences(id_of("u"), &left, test.now);
        assert_eq!(refused.await.unwrap(), []);
        assert_eq!(test.users("a").await, ["v"]);
        assert_eq!(test.users("b").await, ["v"]);
        assert_eq!(test.users("c").await, ["v", "u"]);
    }
}

#[tokio::test]
async fn an_audience_is_settled_by_what_was_read() {
    for test in all() {
        for (id, age) in [("a", 10), ("b", 20), ("c", 30), ("d", 40)] {
            test.join(id, &[("i", age)]).await;
        }
        let read = |id: &str, age| (user(id), test.ago(age));
        let changes = AudienceChanges {
            moved: vec![
                (user("a"), test.ago(10), test.ago(60)),
                // Its time has risen since.
                (user("b"), test.ago(25), test.ago(70)),
                (user("absent"), test.ago(5), test.ago(5)),
            ],
            removed: vec![read("c", 30), read("d", 41), read("absent", 5)],
        };
        let settled = test.store.settle_audience(item_of("i"), &changes, test.now);
        assert_eq!(settled.await.unwrap(), WriteOutcome::Written);
        let expected = [("b", 20.0), ("d", 40.0), ("a", 60.0)];
        let expected = expected.map(|(id, age)| (id.to_owned(), age));
        assert_eq!(test.audience("i").await, expected);
    }
}

#[tokio::test]
async fn members_older_than_the_window_are_not_read_and_are_removed() {
    for test in all() {
        let beyond = WINDOW.as_secs() + 60;
        test.join("old", &[("i", beyond), ("j", beyond)]).await;
        test.join("new", &[("i", 5)]).await;
        assert_eq!(test.users("i").await, ["new"]);
        for item in ["i", "j"] {
            let changes = AudienceChanges::default();
            let settled = test
                .store
                .settle_audience(item_of(item), &changes, test.now);
            assert_eq!(settled.await.unwrap(), WriteOutcome::Written);
        }
        let sizes = ["i", "j"].map(ContentId::from);
        assert_eq!(test.store.audience_sizes(&sizes).await.unwrap(), [1, 0]);
    }
}

#[tokio::test]
async fn a_list_is_read_as_it_was_saved() {
    for test in all() {
        assert_eq!(test.slot("u").await, ListSlot::Missing);
        let list = test.list(5, 2, &["b", "é", "a"]);
        assert_eq!(test.save("u", &list, None).await, WriteOutcome::Written);
        let slot = test.slot("u").await;
        let stored = slot.present().unwrap();
        assert_eq!((stored.rank, stored.packed()), (list.rank, list.packed()));
        assert_eq!(stored.list(), list.list());
        let both = test.store.lists(&[user("v"), user("u")]).await.unwrap();
        assert_eq!(both[0], ListSlot::Missing);
        assert_eq!(both[1].version(), Some(Version(5)));
    }
}

#[tokio::test]
async fn an_older_list_never_replaces_a_newer_one_unless_it_names_it() {
    for test in all() {
        let newest = test.list(9, 5, &["a"]);
        test.save("u", &newest, None).await;
        for older in [
            test.list(8, 1, &["b"]),
            test.list(9, 6, &["b"]),
            newest.clone(),
        ] {
            let outcome = test.save("u", &older, None).await;
            assert_eq!(outcome, WriteOutcome::Superseded);
        }
        let other = test.list(7, 7, &["c"]);
        let outcome = test
            .save("u", &other, Some(test.list(9, 6, &[]).rank))
            .await;
        assert_eq!(outcome, WriteOutcome::Superseded);
        assert_eq!(
            test.save("u", &other, Some(newest.rank)).await,
            WriteOutcome::Written
        );
        assert_eq!(test.slot("u").await.version(), Some(Version(7)));
        let newer = test.list(7, 6, &["d"]);
        assert_eq!(test.save("u", &newer, None).await, WriteOutcome::Written);
    }
}

#[tokio::test]
async fn an_erased_list_is_returned_and_its_user_stays_erased() {
    for test in all() {
        let list = test.list(5, 5, &["a", "b"]);
        test.save("u", &list, None).await;
        let erased = test.store.erase_list(id_of("u"), Version(3), test.now);
        let erased = erased.await.unwrap().unwrap();
        assert_eq!(erased.present().unwrap().list(), list.list());
        // The marker is above the list, though a lower version was given.
        assert_eq!(test.slot("u").await, ListSlot::Erased(Version(6)));
        for under_way in [test.list(5, 0, &["a"]), test.list(6, 0, &["a"])] {
            let outcome = test.save("u", &under_way, None).await;
            assert_eq!(outcome, WriteOutcome::Superseded);
        }
        let again = test
            .store
            .erase_list(id_of("u"), Version(20), SystemClock.now());
        let marker = again.await.unwrap().unwrap();
        assert_eq!(marker, ListSlot::Erased(Version(6)));
        assert_eq!(test.slot("u").await, ListSlot::Erased(Version(20)));
        // A marker is never replaced by name.
        let list = test.list(5, 0, &["a"]);
        let outcome = test.save("u", &list, Some((Version(20), None))).await;
        assert_eq!(outcome, WriteOutcome::Superseded);
    }
}

#[tokio::test]
async fn a_save_returns_the_list_that_it_replaced_unless_the_caller_had_read_it() {
    for test in all() {
        let lists = [5, 6, 7, 8].map(|version| test.list(version, 0, &["a", "b"]));
        let save = async |list: &StoredList, read: Option<&StoredList>| {
            let read = read.map(|list| list.rank);
            let saved = test.store.save_list(id_of("u"), list, None, read, test.now);
            let saved = saved.await.unwrap();
            (
                saved.outcome,
                saved.replaced.map(|list| list.list().unwrap()),
            )
        };
        let whole = |list: &StoredList| Some(list.list().unwrap());
        let [first, second, third, last] = &lists;
        assert_eq!(save(first, None).await, (WriteOutcome::Written, None));
        // Of a process that has read no list.
        let saved = save(second, None).await;
        assert_eq!(saved, (WriteOutcome::Written, whole(first)));
        let saved = save(third, Some(second)).await;
        assert_eq!(saved, (WriteOutcome::Written, None));
        let saved = save(last, Some(first)).await;
        assert_eq!(saved, (WriteOutcome::Written, whole(third)));
        let saved = save(first, None).await;
        assert_eq!(saved, (WriteOutcome::Superseded, None));
        // The marker of an erased user is no list.
        let erased = test.store.erase_list(id_of("u"), Version(1), test.now);
        assert!(erased.await.unwrap().is_some());
        let later = test.list(99, 0, &["a"]);
        let after = SystemClock.now().plus(Duration::from_secs(5));
        let saved = test.store.save_list(id_of("u"), &later, None, None, after);
        assert_eq!(saved.await.unwrap(), SavedList::of(WriteOutcome::Written));
    }
}

#[tokio::test]
async fn data_read_before_an_erasure_is_refused_and_later_data_is_taken() {
    for test in all() {
        let erased = test.store.erase_list(id_of("u"), Version(3), test.now);
        assert_eq!(erased.await.unwrap(), Some(ListSlot::Missing));
        let list = test.list(50, 0, &["a"]);
        let before = test.now.minus(Duration::from_secs(5));
        let saved = test.store.save_list(id_of("u"), &list, None, None, before);
        let superseded = SavedList::of(WriteOutcome::Superseded);
        assert_eq!(saved.await.unwrap(), superseded);
        let after = SystemClock.now().plus(Duration::from_secs(5));
        let saved = test.store.save_list(id_of("u"), &list, None, None, after);
        let written = SavedList::of(WriteOutcome::Written);
        assert_eq!(saved.await.unwrap(), written);
    }
}

#[tokio::test]
async fn data_that_was_read_long_ago_is_refused_and_changes_nothing() {
    for test in all() {
        test.join("u", &[("i", 20)]).await;
        test.save("u", &test.list(5, 5, &["i"]), None).await;
        let long_ago = test.now.minus(MAX_READ_AGE + Duration::from_secs(5));
        let (id, item) = (user("u"), ContentId::from("i"));
        let engagements = [(item.clone(), test.now)];
        let refused = test.store.join_audiences(&id, &engagements, 4, long_ago);
        assert_eq!(refused.await.unwrap(), std::slice::from_ref(&item));
        let refused = test.store.leave_audiences(&id, &engagements, long_ago);
        assert_eq!(refused.await.unwrap(), std::slice::from_ref(&item));
        let changes = AudienceChanges {
            moved: Vec::new(),
            removed: vec![(id.clone(), test.now)],
        };
        let settled = test.store.settle_audience(&item, &changes, long_ago);
        assert_eq!(settled.await.unwrap(), WriteOutcome::TooOld);
        assert_eq!(test.audience("i").await, [("u".to_owned(), 20.0)]);

        let saved = test
            .store
            .save_list(&id, &test.list(9, 0, &[]), None, None, long_ago)
            .await;
        assert_eq!(saved.unwrap(), SavedList::of(WriteOutcome::TooOld));
        let erased = test.store.erase_list(&id, Version(9), long_ago);
        assert_eq!(erased.await.unwrap(), None);
        assert_eq!(test.slot("u").await.version(), Some(Version(5)));

        let age = MAX_READ_AGE.as_secs() + 5;
        let row = test.row("i", &["i", "x"], age);
        assert_eq!(test.save_row("i", &row).await, WriteOutcome::TooOld);
        assert_eq!(test.stored_row("i").await, None);
    }
}

#[tokio::test]
async fn a_row_is_read_as_it_was_saved_and_only_a_later_build_replaces_it() {
    for test in all() {
        assert_eq!(test.stored_row("i").await, None);
        let row = test.row("i", &["x", "i", "é"], 5);
        assert!(row.len() == 3);
        assert_eq!(test.save_row("i", &row).await, WriteOutcome::Written);
        assert_eq!(test.stored_row("i").await.as_ref(), Some(&row));
        let earlier = test.row("i", &["i", "y"], 6);
        assert_eq!(test.save_row("i", &earlier).await, WriteOutcome::Superseded);
        let empty = test.row("i", &["y"], 6);
        assert_eq!(test.save_row("i", &empty).await, WriteOutcome::Superseded);
        assert_eq!(test.stored_row("i").await.as_ref(), Some(&row));
        let later = test.row("i", &["i", "y"], 4);
        assert_eq!(test.save_row("i", &later).await, WriteOutcome::Written);
        let both = test.store.rows(&["none".into(), "i".into()]).await.unwrap();
        assert_eq!(both, [None, Some(later)]);
    }
}

#[tokio::test]
async fn an_empty_row_removes_the_stored_one() {
    for test in all() {
        test.save_row("i", &test.row("i", &["i", "x"], 5)).await;
        let empty = test.row("i", &["x"], 4);
        assert!(empty.is_empty());
        assert_eq!(test.save_row("i", &empty).await, WriteOutcome::Written);
        assert_eq!(test.stored_row("i").await, None);
    }
}

#[tokio::test]
async fn rankings_are_apart_and_keep_the_items_with_the_largest_keys() {
    for test in all() {
        let rank = async |ranking, item: &str, key| {
            let ranked = test.store.rank_popularity(ranking, item_of(item), key);
            ranked.await.unwrap();
        };
        let popular = PopularityRanking::Popular;
        rank(popular, "a", Some(2.25)).await;
        rank(popular, "b", Some(1.0)).await;
        rank(popular, "b", Some(-3.5)).await;
        rank(popular, "c", Some(7.0)).await;
        rank(popular, "c", None).await;
        rank(PopularityRanking::Trending, "é", Some(1e-9)).await;
        let expected = [("a", 2.25), ("b", -3.5)].map(|(item, key)| (item.to_owned(), key));
        assert_eq!(test.ranking(popular).await, BTreeMap::from(expected));
        let trending = test.ranking(PopularityRanking::Trending).await;
        assert_eq!(trending, BTreeMap::from([("é".to_owned(), 1e-9)]));
    }
}

#[tokio::test]
async fn a_ranking_is_bounded() {
    // One implementation of each kind: it takes many calls.
    for test in [memory(), redis(redis::shared().pool())] {
        let ranking = PopularityRanking::Popular;
        let items: Vec<ContentId> = (0..MAX_POPULAR + 3).map(|n| n.to_string().into()).collect();
        let rank = |n: usize| {
            test.store
                .rank_popularity(ranking, &items[n], Some(n as f64))
        };
        for begin in (0..items.len()).step_by(500) {
            let end = items.len().min(begin + 500);
            let calls = (begin..end).map(rank);
            futures_util::future::try_join_all(calls).await.unwrap();
        }
        let kept = test.ranking(ranking).await;
        assert_eq!(kept.len(), MAX_POPULAR);
        assert!(!kept.contains_key("2") && kept.contains_key("3"));
    }
}

#[tokio::test]
async fn ids_of_any_text_have_their_own_entries() {
    for test in all() {
        let ids = ["a", "a:b", "{a}", "b}a{", "*", "é ", "pop"];
        for id in ids {
            test.join(id, &[(id, 5)]).await;
            test.save(id, &test.list(5, 5, &[id]), None).await;
            test.save_row(id, &test.row(id, &[id], 5)).await;
        }
        for id in ids {
            assert_eq!(test.users(id).await, [id]);
            let slot = test.slot(id).await;
            let list = slot.present().unwrap().list().unwrap();
            assert_eq!(list.entries()[0].item.as_str(), id);
            let row = test.stored_row(id).await.unwrap();
            assert_eq!(row.iter().next().unwrap().0, id);
        }
    }
}

#[tokio::test]
async fn entries_expire_one_window_after_their_last_write() {
    let (clock, test) = with_movable_time();
    test.join("u", &[("i", 0)]).await;
    test.save("u", &test.list(5, 0, &["i"]), None).await;
    test.save_row("i", &test.row("i", &["i"], 0)).await;
    clock.advance(WINDOW - Duration::from_secs(1));
    assert_eq!(test.users("i").await, ["u"]);
    assert!(test.slot("u").await.present().is_some() && test.stored_row("i").await.is_some());
    clock.advance(Duration::from_secs(1));
    assert_eq!(test.slot("u").await, ListSlot::Missing);
    assert_eq!(test.stored_row("i").await, None);
    assert_eq!(test.store.audience_sizes(&["i".into()]).await.unwrap(), [0]);
}

#[tokio::test]
async fn the_marker_of_an_erased_list_expires_after_a_minute() {
    let (clock, test) = with_movable_time();
    let erased = test.store.erase_list(id_of("u"), Version(3), test.now);
    erased.await.unwrap();
    clock.advance(Duration::from_secs(59));
    assert_eq!(test.slot("u").await, ListSlot::Erased(Version(3)));
    clock.advance(Duration::from_secs(1));
    assert_eq!(test.slot("u").await, ListSlot::Missing);
}

#[tokio::test]
async fn memory_counts_what_it_holds_and_refuses_beyond_its_limit() {
    let clock = TestClock::at("2026-06-10T12:00:00Z");
    let budget = Arc::new(Budget::new(20_000));
    let store = MemoryAssociationStore::new(clock.clone(), WINDOW, budget.clone());
    let mut refused = None;
    for n in 0..1_000 {
        let engagements = [(n.to_string().into(), clock.now())];
        let joined = store.join_audiences(id_of("u"), &engagements, 4, clock.now());
        refused = joined.await.err();
        if refused.is_some() {
            break;
        }
    }
    assert_eq!(refused.unwrap().kind(), StoreErrorKind::Full);
    assert!(budget.used() > 10_000 && budget.used() <= 20_000);
    clock.advance(WINDOW + DAY);
    store.audience_sizes(&["0".into()]).await.unwrap();
    assert_eq!(budget.used(), 0, "expired entries are released");
}
