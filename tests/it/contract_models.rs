//! The contract of `ModelStore`, for every implementation of it.

use std::{sync::Arc, time::Duration};

use recsys::{
    adapters::{
        memory::{Budget, MemoryModelStore},
        redis::RedisPool,
    },
    domain::{ids::UserId, time::Timestamp, user_signals::UserSignals},
    ports::{Clock, Erasure, ModelSlot, ModelStore, Rank, SaveOutcome, StoredModel, Version},
};

use crate::support::{DAY, TestClock, redis};

const TTL: Duration = Duration::from_secs(7 * 86_400);

struct UnderTest {
    store: Arc<dyn ModelStore>,
    clock: Arc<TestClock>,
}

fn memory() -> UnderTest {
    let clock = TestClock::at("2026-06-10T12:00:00Z");
    let budget = Arc::new(Budget::new(1 << 20));
    UnderTest {
        store: Arc::new(MemoryModelStore::new(clock.clone(), TTL, budget)),
        clock,
    }
}

fn redis(pool: RedisPool) -> UnderTest {
    UnderTest {
        store: Arc::new(redis::model_store(&pool, &redis::own_prefix())),
        clock: TestClock::real(),
    }
}

fn all() -> Vec<UnderTest> {
    vec![
        memory(),
        redis(redis::shared().pool()),
        redis(redis::shared_cluster().pool()),
    ]
}

/// The implementations whose clock the test can move. For Redis,
/// `redis_state.rs` tests the same.
fn with_movable_time() -> Vec<UnderTest> {
    vec![memory()]
}

fn id(user: &str) -> UserId {
    UserId::parse(user).unwrap()
}

fn model(version: u64, built_at: i64) -> StoredModel {
    let mut signals = UserSignals::empty(id("u"));
    signals.built_at = Some(Timestamp::from_micros(built_at));
    signals.viewed = vec![format!("{version}/{built_at}").as_str().into()];
    signals.recent_views = signals.viewed.clone();
    StoredModel {
        version: Version(version),
        ranking: Some(7),
        incomplete: false,
        signals: Arc::new(signals),
    }
}

impl UnderTest {
    async fn save(&self, model: &StoredModel) -> SaveOutcome {
        self.save_over(model, None).await
    }

    async fn save_over(&self, model: &StoredModel, replaces: Option<Rank>) -> SaveOutcome {
        self.store
            .save(&id("u"), model, replaces, self.clock.now())
            .await
            .unwrap()
    }

    /// An erasure with this version, as of now. Returns whether there was a model.
    async fn erase(&self, version: u64) -> Option<bool> {
        let erasure = Erasure {
            existed: true,
            version: Version(version),
            at: self.clock.now(),
        };
        self.store
            .erase(&id("u"), &erasure, erasure.at)
            .await
            .unwrap()
    }

    async fn load(&self) -> ModelSlot {
        self.store.load(&id("u")).await.unwrap()
    }
}

#[tokio::test]
async fn a_saved_model_is_loaded_as_it_was() {
    for test in all() {
        assert_eq!(test.load().await, ModelSlot::Missing);
        assert_eq!(test.save(&model(5, 1)).await, SaveOutcome::Saved);
        assert_eq!(test.load().await, ModelSlot::Present(model(5, 1)));
        assert_eq!(test.store.load(&id("v")).await.unwrap(), ModelSlot::Missing);
    }
}

#[tokio::test]
async fn the_text_of_a_model_is_returned_if_the_store_has_one() {
    for test in all() {
        let stored = async || test.store.stored(&id("u")).await.unwrap();
        assert_eq!(stored().await, None);
        test.save(&model(5, 1)).await;
        if let Some(text) = stored().await {
            assert!(text.contains(r#""viewed":["5/1"]"#), "{text}");
        }
        test.erase(6).await;
        assert_eq!(stored().await, None, "a marker is no model");
    }
}

#[tokio::test]
async fn an_older_model_never_replaces_a_newer_one() {
    for test in all() {
        test.save(&model(5, 10)).await;
        for older in [model(4, 99), model(5, 9), model(5, 10)] {
            assert_eq!(test.save(&older).await, SaveOutcome::Superseded);
            assert_eq!(test.load().await, ModelSlot::Present(model(5, 10)));
        }
        for newer in [model(5, 11), model(6, 1), model(1 << 46, 1)] {
            assert_eq!(test.save(&newer).await, SaveOutcome::Saved);
            assert_eq!(test.load().await, ModelSlot::Present(newer));
        }
    }
}

#[tokio::test]
async fn a_model_lives_for_its_time_after_each_save() {
    for test in with_movable_time() {
        test.save(&model(1, 1)).await;
        test.clock.advance(TTL - DAY);
        test.save(&model(2, 2)).await;
        test.clock.advance(TTL - Duration::from_millis(1));
        assert_eq!(test.load().await, ModelSlot::Present(model(2, 2)));
        test.clock.advance(Duration::from_millis(1));
        assert_eq!(test.load().await, ModelSlot::Missing);
        assert_eq!(test.save(&model(1, 1)).await, SaveOutcome::Saved);
    }
}

#[tokio::test]
async fn a_save_in_flight_cannot_restore_an_erased_user() {
    for test in all() {
        test.save(&model(5, 10)).await;
        assert_eq!(test.erase(9).await, Some(true));
        let erased = ModelSlot::Erased(Version(9));
        assert_eq!(test.load().await, erased);
        for in_flight in [model(5, 99), model(9, 99)] {
            assert_eq!(test.save(&in_flight).await, SaveOutcome::Superseded);
        }
        assert_eq!(test.load().await, erased);
        assert_eq!(
            test.erase(12).await,
            Some(false),
            "nothing is left to erase"
        );
        assert_eq!(test.save(&model(10, 99)).await, SaveOutcome::Superseded);
        assert_eq!(test.save(&model(20, 1)).await, SaveOutcome::Saved);
        assert_eq!(test.load().await, ModelSlot::Present(model(20, 1)));
    }
}

#[tokio::test]
async fn a_save_whose_events_were_read_before_an_erasure_is_refused_at_any_version() {
    for test in all() {
        let before = test.clock.now().minus(Duration::from_secs(1));
        test.erase(9).await;
        let save = async |read_at| {
            test.store
                .save(&id("u"), &model(20, 1), None, read_at)
                .await
                .unwrap()
        };
        assert_eq!(save(before).await, SaveOutcome::Superseded);
        assert_eq!(save(test.clock.now()).await, SaveOutcome::Saved);
    }
}

#[tokio::test]
async fn a_write_whose_data_was_read_too_long_ago_is_refused() {
    for test in all() {
        let old = test.clock.now().minus(Duration::from_secs(40));
        let saved = test
            .store
            .save(&id("u"), &model(5, 1), None, old)
            .await
            .unwrap();
        assert_eq!(saved, SaveOutcome::Superseded);
        let erasure = Erasure {
            existed: true,
            version: Version(9),
            at: test.clock.now(),
        };
        let erased = test.store.erase(&id("u"), &erasure, old).await.unwrap();
        assert_eq!(erased, None);
        assert_eq!(test.load().await, ModelSlot::Missing);
    }
}

#[tokio::test]
async fn an_erasure_that_read_before_another_one_is_refused_and_a_repeated_one_is_not() {
    for test in all() {
        let read_at = test.clock.now().minus(Duration::from_secs(2));
        let erasure = |version, seconds_ago| Erasure {
            existed: true,
            version: Version(version),
            at: test.clock.now().minus(Duration::from_secs(seconds_ago)),
        };
        let (first, other) = (erasure(9, 1), erasure(8, 0));
        let erase =
            async |erasure: &Erasure| test.store.erase(&id("u"), erasure, read_at).await.unwrap();
        assert_eq!(erase(&first).await, Some(false));
        assert_eq!(erase(&first).await, Some(false), "its reply was lost");
        assert_eq!(erase(&other).await, None);
        assert_eq!(test.load().await, ModelSlot::Erased(Version(9)));
    }
}

#[tokio::test]
async fn an_erasure_leaves_its_marker_even_without_a_model() {
    for test in all() {
        // A refresh in flight may have read a buffer that no longer exists.
        assert_eq!(test.erase(1).await, Some(false));
        assert_eq!(test.save(&model(0, 99)).await, SaveOutcome::Superseded);
        assert_eq!(test.load().await, ModelSlot::Erased(Version(1)));
    }
}

#[tokio::test]
async fn a_model_replaces_a_newer_one_only_if_it_names_it() {
    for test in all() {
        test.save(&model(9, 10)).await;
        let save = async |model: &StoredModel, instead_of| test.save_over(model, instead_of).await;
        let (old, other) = (model(5, 20), model(8, 10));
        assert_eq!(
            save(&old, Some(other.rank())).await,
            SaveOutcome::Superseded
        );
        let named = model(9, 10).rank();
        assert_eq!(save(&old, Some(named)).await, SaveOutcome::Saved);
        assert_eq!(test.load().await, ModelSlot::Present(old));
        // But never an erased user's marker.
        test.erase(31).await;
        for marker in [(Version(31), None), (Version(31), Some(test.clock.now()))] {
            let saved = save(&model(5, 21), Some(marker)).await;
            assert_eq!(saved, SaveOutcome::Superseded);
        }
    }
}

#[tokio::test]
async fn the_marker_of_an_erasure_expires_after_a_minute() {
    for test in with_movable_time() {
        assert_eq!(test.erase(8).await, Some(false));
        test.clock.advance(Duration::from_secs(59));
        assert_eq!(test.load().await, ModelSlot::Erased(Version(8)));
        test.clock.advance(Duration::from_secs(1));
        assert_eq!(test.load().await, ModelSlot::Missing);
        assert!(test.clock.now() > Timestamp::from_micros(0));
    }
}
