//! Copies of what Redis holds of users, bounded in bytes. What is not asked for
//! makes room.
//!
//! A user who was removed by this process is held no longer: also not by a read
//! that began before.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use foldhash::fast::RandomState;
use quick_cache::{
    OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle},
};

use crate::{
    domain::ids::UserId,
    telemetry::meters::{self, Level},
};

/// What is expected to be kept of a user, for the size of the cache's table.
const EXPECTED_BYTES: u64 = 16 << 10;

/// Memory of a part of the cache, which nothing that is kept can exceed: room for
/// a few of the longest buffers.
const SHARD_BYTES: u64 = 32 << 20;
const MOST_SHARDS: usize = 64;

/// Something that is kept of a user.
pub(super) trait Weigh {
    /// What it takes in memory.
    fn bytes(&self) -> u64;
}

/// What is kept, by user.
pub(super) struct Kept<V> {
    cache: Arc<Cache<UserId, Arc<V>, ByBytes, RandomState>>,
    /// Rises with each removal by this process.
    removals: AtomicU64,
}

#[derive(Clone)]
struct ByBytes;

impl<V: Weigh> Weighter<UserId, Arc<V>> for ByBytes {
    fn weight(&self, user: &UserId, kept: &Arc<V>) -> u64 {
        kept.bytes() + user.as_str().len() as u64
    }
}

impl<V: Weigh + Send + Sync + 'static> Kept<V> {
    /// Nothing, at most so much; what it holds is told under these levels.
    pub(super) fn new(max_bytes: u64, bytes: Level, entries: Level) -> Self {
        let count = |bytes_each| usize::try_from(max_bytes / bytes_each).unwrap_or(usize::MAX);
        let expected = count(EXPECTED_BYTES).max(1);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(expected)
            .weight_capacity(max_bytes)
            .shards(count(SHARD_BYTES).clamp(1, MOST_SHARDS))
            .build();
        let (hasher, lifecycle) = (RandomState::default(), DefaultLifecycle::default());
        let cache = match options {
            Ok(options) => Cache::with_options(options, ByBytes, hasher, lifecycle),
            Err(_) => Cache::with(expected, max_bytes, ByBytes, hasher, lifecycle),
        };
        let cache = Arc::new(cache);
        meters::watch(&cache, move |cache, levels| {
            levels.add(bytes, cache.weight());
            levels.add(entries, cache.len() as u64);
        });
        Self {
            cache,
            removals: AtomicU64::new(0),
        }
    }

    /// What is kept of a user.
    pub(super) fn get(&self, user: &UserId) -> Option<Arc<V>> {
        self.cache.get(user)
    }

    /// To be asked before a read, and told to [`Kept::keep`] after it.
    pub(super) fn removals(&self) -> u64 {
        self.removals.load(Ordering::SeqCst)
    }

    /// Keeps what was read; unless a user was removed meanwhile.
    pub(super) fn keep(&self, user: &UserId, read: V, removals: u64) {
        if removals != self.removals() {
            return;
        }
        self.cache.insert(user.clone(), Arc::new(read));
        // A user who was removed between the two must not stay.
        if removals != self.removals() {
            self.forget(user);
        }
    }

    /// Keeps nothing of a user.
    pub(super) fn forget(&self, user: &UserId) {
        self.cache.remove(user);
    }

    /// Forgets a user whom this process has removed.
    pub(super) fn removed(&self, user: &UserId) {
        self.removals.fetch_add(1, Ordering::SeqCst);
        self.forget(user);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::{Kept, Weigh};
    use crate::{domain::ids::UserId, telemetry::meters::Level};

    const BYTES: u64 = 2_000;

    struct Thing;

    impl Weigh for Thing {
        fn bytes(&self) -> u64 {
            BYTES
        }
    }

    fn kept() -> Kept<Thing> {
        Kept::new(64 << 10, Level::BufferBytes, Level::BufferEntries)
    }

    fn user(id: &str) -> UserId {
        UserId::parse(id).unwrap()
    }

    fn holds(kept: &Kept<Thing>, user: &UserId) -> bool {
        kept.cache.peek(user).is_some()
    }

    fn read(kept: &Kept<Thing>, user: &UserId, removals: u64) {
        kept.keep(user, Thing, removals);
    }

    #[test]
    fn what_is_kept_is_bounded_in_bytes() {
        let kept = kept();
        let users: Vec<UserId> = (0..1_000).map(|number| user(&number.to_string())).collect();
        for user in &users {
            read(&kept, user, kept.removals());
        }
        let held = users.iter().filter(|user| holds(&kept, user)).count();
        assert!((1..=32).contains(&held), "{held}");
    }

    #[test]
    fn a_removed_user_is_held_no_longer_and_others_are() {
        let kept = kept();
        let (erased, other) = (user("erased"), user("other"));
        read(&kept, &erased, kept.removals());
        read(&kept, &other, kept.removals());
        kept.removed(&erased);
        assert!(!holds(&kept, &erased) && holds(&kept, &other));
    }

    #[test]
    fn what_was_asked_for_before_a_removal_is_not_kept_after_it() {
        let kept = kept();
        let erased = user("erased");
        let before = kept.removals();
        kept.removed(&erased);
        read(&kept, &erased, before);
        assert!(!holds(&kept, &erased));
    }

    #[test]
    fn a_removal_in_the_midst_of_keeping_leaves_nothing() {
        let kept = kept();
        let erased = user("erased");
        let (both, rounds) = (Barrier::new(2), 2_000);
        let left = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let left = (0..rounds).filter(|_| {
                    let removals = kept.removals();
                    both.wait();
                    read(&kept, &erased, removals);
                    both.wait();
                    let left = holds(&kept, &erased);
                    both.wait();
                    left
                });
                left.count()
            });
            for _ in 0..rounds {
                both.wait();
                kept.removed(&erased);
                both.wait();
                both.wait();
            }
            reader.join().unwrap()
        });
        assert_eq!(left, 0, "of {rounds} rounds");
    }
}
