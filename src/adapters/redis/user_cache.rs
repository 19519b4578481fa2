//! A cache of values by user, bounded in bytes. Least used values are evicted.
//!
//! A user who was erased by this process is not cached again by a read that
//! began before the erasure. One who was erased by another process is forgotten
//! within ten minutes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
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

/// Expected size of a value, from which the cache's table is sized.
const EXPECTED_BYTES: u64 = 16 << 10;

/// Memory of a shard of the cache, which bounds the size of a value: room for a
/// few of the longest buffers.
const SHARD_BYTES: u64 = 32 << 20;
const MAX_SHARDS: usize = 64;

/// A value is not used for longer than this after it was read or written,
const TTL: Duration = Duration::from_secs(9 * 60);
/// and removed this much later at most.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// A value with its estimated size in memory.
pub(super) trait ByteSize {
    fn byte_size(&self) -> u64;
}

struct Entry<V> {
    value: Arc<V>,
    inserted: Instant,
}

impl<V> Clone for Entry<V> {
    fn clone(&self) -> Self {
        Self {
            value: Arc::clone(&self.value),
            inserted: self.inserted,
        }
    }
}

type Entries<V> = Cache<UserId, Entry<V>, ByteWeighter, RandomState>;

/// Values by user.
pub(super) struct UserCache<V> {
    cache: Arc<Entries<V>>,
    ttl: Duration,
    /// Rises with each erasure by this process.
    erasures: AtomicU64,
}

#[derive(Clone)]
struct ByteWeighter;

impl<V: ByteSize> Weighter<UserId, Entry<V>> for ByteWeighter {
    fn weight(&self, user: &UserId, entry: &Entry<V>) -> u64 {
        entry.value.byte_size() + user.as_str().len() as u64
    }
}

impl<V: ByteSize + Send + Sync + 'static> UserCache<V> {
    /// An empty cache. Reports its size under these levels.
    pub(super) fn new(max_bytes: u64, bytes: Level, entries: Level) -> Self {
        Self::with_ttl(max_bytes, bytes, entries, TTL)
    }

    fn with_ttl(max_bytes: u64, bytes: Level, entries: Level, ttl: Duration) -> Self {
        let count = |bytes_each| usize::try_from(max_bytes / bytes_each).unwrap_or(usize::MAX);
        let expected = count(EXPECTED_BYTES).max(1);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(expected)
            .weight_capacity(max_bytes)
            .shards(count(SHARD_BYTES).clamp(1, MAX_SHARDS))
            .build();
        let (hasher, lifecycle) = (RandomState::default(), DefaultLifecycle::default());
        let cache = match options {
            Ok(options) => Cache::with_options(options, ByteWeighter, hasher, lifecycle),
            Err(_) => Cache::with(expected, max_bytes, ByteWeighter, hasher, lifecycle),
        };
        let cache = Arc::new(cache);
        meters::watch(&cache, move |cache, levels| {
            levels.add(bytes, cache.weight());
            levels.add(entries, cache.len() as u64);
        });
        sweep_in_background(&cache, ttl);
        Self {
            cache,
            ttl,
            erasures: AtomicU64::new(0),
        }
    }

    pub(super) fn get(&self, user: &UserId) -> Option<Arc<V>> {
        let entry = self.cache.get(user)?;
        (entry.inserted.elapsed() < self.ttl).then_some(entry.value)
    }

    /// How many users this process has erased. Take it before a read, and pass
    /// it to [`UserCache::insert`] after.
    pub(super) fn erasures(&self) -> u64 {
        self.erasures.load(Ordering::SeqCst)
    }

    /// Caches what was read, unless a user was erased since the read began.
    pub(super) fn insert(&self, user: &UserId, value: V, erasures: u64) {
        if erasures != self.erasures() {
            return;
        }
        let entry = Entry {
            value: Arc::new(value),
            inserted: Instant::now(),
        };
        self.cache.insert(user.clone(), entry);
        // An erasure between the check and the insertion.
        if erasures != self.erasures() {
            self.remove(user);
        }
    }

    pub(super) fn remove(&self, user: &UserId) {
        self.cache.remove(user);
    }

    /// Removes a user whom this process has erased.
    pub(super) fn erase(&self, user: &UserId) {
        self.erasures.fetch_add(1, Ordering::SeqCst);
        self.remove(user);
    }
}

/// Removes values that are too old.
fn sweep<V>(cache: &Entries<V>, ttl: Duration)
where
    ByteWeighter: Weighter<UserId, Entry<V>>,
{
    cache.retain(|_, entry| entry.inserted.elapsed() < ttl);
}

/// Removes values that are too old, in a task that ends with the cache. Without a
/// runtime there is none: values are only not used.
fn sweep_in_background<V: Send + Sync + 'static>(cache: &Arc<Entries<V>>, ttl: Duration)
where
    ByteWeighter: Weighter<UserId, Entry<V>>,
{
    let cache = Arc::downgrade(cache);
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(SWEEP_EVERY).await;
                let Some(cache) = cache.upgrade() else {
                    return;
                };
                sweep(&cache, ttl);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Barrier, time::Duration};

    use super::{ByteSize, UserCache};
    use crate::{domain::ids::UserId, telemetry::meters::Level};

    const BYTES: u64 = 2_000;

    struct TestValue;

    impl ByteSize for TestValue {
        fn byte_size(&self) -> u64 {
            BYTES
        }
    }

    fn cache() -> UserCache<TestValue> {
        UserCache::new(64 << 10, Level::BufferBytes, Level::BufferEntries)
    }

    fn user(id: &str) -> UserId {
        UserId::parse(id).unwrap()
    }

    fn contains(cache: &UserCache<TestValue>, user: &UserId) -> bool {
        cache.cache.peek(user).is_some()
    }

    #[test]
    fn the_cache_is_bounded_in_bytes() {
        let cache = cache();
        let users: Vec<UserId> = (0..1_000).map(|number| user(&number.to_string())).collect();
        for user in &users {
            cache.insert(user, TestValue, cache.erasures());
        }
        let cached = users.iter().filter(|user| contains(&cache, user)).count();
        assert!((1..=32).contains(&cached), "{cached}");
    }

    #[test]
    fn a_value_that_is_too_old_is_not_used_and_is_removed() {
        let levels = (Level::BufferBytes, Level::BufferEntries);
        let of_ttl = |ttl| UserCache::with_ttl(64 << 10, levels.0, levels.1, ttl);
        for (ttl, stays) in [(Duration::ZERO, false), (super::TTL, true)] {
            let (cache, user) = (of_ttl(ttl), user("u"));
            cache.insert(&user, TestValue, cache.erasures());
            assert_eq!(cache.get(&user).is_some(), stays);
            super::sweep(&cache.cache, ttl);
            assert_eq!(contains(&cache, &user), stays);
        }
    }

    #[test]
    fn an_erasure_removes_its_user_alone() {
        let cache = cache();
        let (erased, other) = (user("erased"), user("other"));
        cache.insert(&erased, TestValue, cache.erasures());
        cache.insert(&other, TestValue, cache.erasures());
        cache.erase(&erased);
        assert!(!contains(&cache, &erased) && contains(&cache, &other));
    }

    #[test]
    fn a_read_from_before_an_erasure_is_not_cached_after_it() {
        let cache = cache();
        let erased = user("erased");
        let before = cache.erasures();
        cache.erase(&erased);
        cache.insert(&erased, TestValue, before);
        assert!(!contains(&cache, &erased));
    }

    #[test]
    fn an_erasure_during_an_insertion_leaves_nothing() {
        let cache = cache();
        let erased = user("erased");
        let (both, rounds) = (Barrier::new(2), 2_000);
        let left = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let left = (0..rounds).filter(|_| {
                    let erasures = cache.erasures();
                    both.wait();
                    cache.insert(&erased, TestValue, erasures);
                    both.wait();
                    let left = contains(&cache, &erased);
                    both.wait();
                    left
                });
                left.count()
            });
            for _ in 0..rounds {
                both.wait();
                cache.erase(&erased);
                both.wait();
                both.wait();
            }
            reader.join().unwrap()
        });
        assert_eq!(left, 0, "of {rounds} rounds");
    }
}
