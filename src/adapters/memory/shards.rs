//! A map by user id, in shards with a lock each. Expired entries are removed as
//! their shards are used.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher as _,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::domain::{ids::UserId, time::Timestamp};

const SHARDS: usize = 64;
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// An entry with an expiry. It takes memory until it is swept.
pub(super) trait Expires {
    fn expires_at(&self) -> Timestamp;
}

pub(super) struct Shard<V> {
    pub(super) entries: HashMap<UserId, V>,
    next_sweep: Timestamp,
}

pub(super) struct Shards<V> {
    hasher: RandomState,
    shards: Vec<Mutex<Shard<V>>>,
}

impl<V: Expires> Shards<V> {
    pub(super) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS)
                .map(|_| {
                    Mutex::new(Shard {
                        entries: HashMap::new(),
                        next_sweep: Timestamp::from_micros(0),
                    })
                })
                .collect(),
        }
    }

    /// Locks a user's shard. Entries that expired by `now` are removed and passed
    /// to `dropped`: the user's own always, the others about once a minute.
    pub(super) fn lock(
        &self,
        user: &UserId,
        now: Timestamp,
        dropped: impl FnMut(V),
    ) -> MutexGuard<'_, Shard<V>> {
        let index = self.hasher.hash_one(user) as usize % self.shards.len();
        let mut shard = locked(&self.shards[index]);
        if now >= shard.next_sweep {
            shard.next_sweep = now.plus(SWEEP_EVERY);
            sweep(&mut shard, now, dropped);
        } else if shard
            .entries
            .get(user)
            .is_some_and(|entry| entry.expires_at() <= now)
        {
            shard.entries.remove(user).map(dropped);
        }
        shard
    }

    /// Removes all entries that expired by `now`.
    pub(super) fn sweep_all(&self, now: Timestamp, mut dropped: impl FnMut(V)) {
        for shard in &self.shards {
            sweep(&mut locked(shard), now, &mut dropped);
        }
    }
}

fn sweep<V: Expires>(shard: &mut Shard<V>, now: Timestamp, mut dropped: impl FnMut(V)) {
    shard
        .entries
        .extract_if(|_, entry| entry.expires_at() <= now)
        .for_each(|(_, entry)| dropped(entry));
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Entries change in single steps: they are consistent even if a holder of
    // the lock panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
