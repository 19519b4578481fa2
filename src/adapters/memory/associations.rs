//! Audiences, interest lists, neighbour rows and popularity in memory.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use super::budget::Budget;
use crate::{
    domain::{
        associations::{Audience, AudienceMember, NeighborRow},
        ids::{ContentId, UserId},
        time::Timestamp,
    },
    ports::{
        AssociationStore, AudienceChanges, Clock, ERASED_FOR, Engagement, ListSlot, MAX_POPULAR,
        MAX_READ_AGE, PopularityRanking, Rank, SavedList, StoreError, StoredList, Version,
        WriteOutcome,
    },
};

const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Overhead of an entry besides its texts.
const ENTRY_BYTES: usize = 128;
/// Overhead of a member of an audience besides its text, which is shared.
const MEMBER_BYTES: usize = 64;
/// A ranking is cut to [`MAX_POPULAR`] when it has this many items more.
const SURPLUS_POPULAR: usize = 1_000;

/// What other users did, in this process's memory.
pub struct MemoryAssociationStore {
    clock: Arc<dyn Clock>,
    window: Duration,
    budget: Arc<Budget>,
    state: Mutex<AssociationTables>,
}

#[derive(Default)]
struct AssociationTables {
    audiences: Expiring<ContentId, HashMap<UserId, Timestamp>>,
    lists: Expiring<UserId, ListState>,
    rows: Expiring<ContentId, NeighborRow>,
    popular: HashMap<ContentId, f64>,
    trending: HashMap<ContentId, f64>,
    next_sweep: Option<Timestamp>,
}

impl AssociationTables {
    /// Leaves a marker instead of a user's list, which is not in the table.
    fn mark_list(
        &mut self,
        user: &UserId,
        version: Version,
        erased_at: Option<Timestamp>,
        now: Timestamp,
    ) {
        let entry = ExpiringEntry {
            value: ListState::Erased(version, erased_at),
            expires_at: now.plus(ERASED_FOR),
            bytes: 0,
        };
        self.lists.0.insert(user.clone(), entry);
    }
}

enum ListState {
    /// The version of the marker, and the time of the last erasure; `None` if there was
    /// none, only a merge.
    Erased(Version, Option<Timestamp>),
    Present(StoredList),
}

impl ListState {
    fn rank(&self) -> Rank {
        match self {
            Self::Erased(version, _) => (*version, None),
            Self::Present(list) => list.rank,
        }
    }

    fn slot(&self) -> ListSlot {
        match self {
            Self::Erased(version, _) => ListSlot::Erased(*version),
            Self::Present(list) => ListSlot::Present(list.clone()),
        }
    }
}

/// Entries with the time of their expiry and their bytes in the budget.
struct Expiring<K, V>(HashMap<K, ExpiringEntry<V>>);

struct ExpiringEntry<V> {
    value: V,
    expires_at: Timestamp,
    bytes: usize,
}

impl<K, V> Default for Expiring<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash + Clone, V> Expiring<K, V> {
    fn get(&self, key: &K, now: Timestamp) -> Option<&V> {
        let entry = self.0.get(key).filter(|entry| entry.expires_at > now);
        entry.map(|entry| &entry.value)
    }

    /// Removes an entry, and returns its value if it has not expired.
    fn take(&mut self, key: &K, now: Timestamp, budget: &Budget) -> Option<V> {
        let entry = self.0.remove(key)?;
        budget.release(entry.bytes);
        (entry.expires_at > now).then_some(entry.value)
    }

    /// Adds an entry whose key is not in the map.
    fn put(
        &mut self,
        key: &K,
        value: V,
        expires_at: Timestamp,
        bytes: usize,
        budget: &Budget,
    ) -> Result<(), StoreError> {
        budget.reserve(bytes)?;
        let entry = ExpiringEntry {
            value,
            expires_at,
            bytes,
        };
        self.0.insert(key.clone(), entry);
        Ok(())
    }

    fn sweep(&mut self, now: Timestamp, budget: &Budget) {
        self.0
            .extract_if(|_, entry| entry.expires_at <= now)
            .for_each(|(_, entry)| budget.release(entry.bytes));
    }
}

impl MemoryAssociationStore {
    /// An empty store, whose entries expire one `window` after their last write.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, window: Duration, budget: Arc<Budget>) -> Self {
        Self {
            clock,
            window,
            budget,
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> (MutexGuard<'_, AssociationTables>, Timestamp) {
        let now = self.clock.now();
        // Each entry is replaced in one step: a panic leaves the tables consistent.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.next_sweep.is_none_or(|next| now >= next) {
            state.next_sweep = Some(now.plus(SWEEP_EVERY));
            state.audiences.sweep(now, &self.budget);
            state.lists.sweep(now, &self.budget);
            state.rows.sweep(now, &self.budget);
        }
        (state, now)
    }

    /// Changes an audience, which is removed when it is empty.
    fn change_audience(
        &self,
        state: &mut AssociationTables,
        item: &ContentId,
        now: Timestamp,
        extends: bool,
        change: impl FnOnce(&mut HashMap<UserId, Timestamp>),
    ) -> Result<(), StoreError> {
        let before = state.audiences.0.get(item);
        let expires_at = before.filter(|entry| !extends && entry.expires_at > now);
        let expires_at = expires_at.map_or(now.plus(self.window), |entry| entry.expires_at);
        let audience = state.audiences.take(item, now, &self.budget);
        let mut audience = audience.unwrap_or_default();
        change(&mut audience);
        if audience.is_empty() {
            return Ok(());
        }
        let bytes = ENTRY_BYTES + item.as_str().len() + MEMBER_BYTES * audience.len();
        let audiences = &mut state.audiences;
        audiences.put(item, audience, expires_at, bytes, &self.budget)
    }
}

fn is_too_old(read_at: Timestamp, now: Timestamp) -> bool {
    now > read_at.plus(MAX_READ_AGE)
}

/// Removes the oldest members beyond `audience_max`.
fn trim(audience: &mut HashMap<UserId, Timestamp>, audience_max: usize) {
    while audience.len() > audience_max {
        let oldest = audience.iter().min_by_key(|(user, time)| (**time, *user));
        let Some(oldest) = oldest.map(|(user, _)| user.clone()) else {
            return;
        };
        audience.remove(&oldest);
    }
}

#[async_trait]
impl AssociationStore for MemoryAssociationStore {
    async fn join_audiences(
        &self,
        user: &UserId,
        engagements: &[Engagement],
        audience_max: usize,
        read_at: Timestamp,
    ) -> Result<Vec<ContentId>, StoreError> {
        let (mut state, now) = self.lock();
        if is_too_old(read_at, now) {
            return Ok(engagements.iter().map(|(item, _)| item.clone()).collect());
        }
        for (item, time) in engagements {
            self.change_audience(&mut state, item, now, true, |audience| {
                let member = audience.entry(user.clone()).or_insert(*time);
                *member = (*member).max(*time);
                trim(audience, audience_max);
            })?;
        }
        Ok(Vec::new())
    }

    async fn leave_audiences(
        &self,
        user: &UserId,
        engagements: &[Engagement],
        read_at: Timestamp,
    ) -> Result<Vec<ContentId>, StoreError> {
        let (mut state, now) = self.lock();
        if is_too_old(read_at, now) {
            return Ok(engagements.iter().map(|(item, _)| item.clone()).collect());
        }
        for (item, time) in engagements {
            self.change_audience(&mut state, item, now, false, |audience| {
                audience.retain(|member, at| member != user || *at > *time);
            })?;
        }
        Ok(Vec::new())
    }

    async fn audience(
        &self,
        item: &ContentId,
        audience_max: usize,
    ) -> Result<Audience, StoreError> {
        let (state, now) = self.lock();
        let oldest = now.minus(self.window);
        let members = state.audiences.get(item, now).into_iter().flatten();
        let members = members
            .filter(|(_, time)| **time >= oldest)
            .map(|(user, time)| AudienceMember {
                user: user.clone(),
                time: *time,
            });
        Ok(Audience::new(members.collect(), audience_max))
    }

    async fn audience_sizes(&self, items: &[ContentId]) -> Result<Vec<usize>, StoreError> {
        let (state, now) = self.lock();
        let size = |item| state.audiences.get(item, now).map_or(0, HashMap::len);
        Ok(items.iter().map(size).collect())
    }

    async fn settle_audience(
        &self,
        item: &ContentId,
        changes: &AudienceChanges,
        read_at: Timestamp,
    ) -> Result<WriteOutcome, StoreError> {
        let (mut state, now) = self.lock();
        if is_too_old(read_at, now) {
            return Ok(WriteOutcome::TooOld);
        }
        let oldest = now.minus(self.window);
        self.change_audience(&mut state, item, now, false, |audience| {
            for (user, read, time) in &changes.moved {
                if let Some(at) = audience.get_mut(user).filter(|at| **at <= *read) {
                    *at = *time;
                }
            }
            for (user, read) in &changes.removed {
                if audience.get(user).is_some_and(|at| at <= read) {
                    audience.remove(user);
                }
            }
            audience.retain(|_, time| *time >= oldest);
        })?;
        Ok(WriteOutcome::Written)
    }

    async fn lists(&self, users: &[UserId]) -> Result<Vec<ListSlot>, StoreError> {
        let (state, now) = self.lock();
        let slot = |user| {
            let list = state.lists.get(user, now);
            list.map_or(ListSlot::Missing, ListState::slot)
        };
        Ok(users.iter().map(slot).collect())
    }

    async fn save_list(
        &self,
        user: &UserId,
        list: &StoredList,
        replaces: Option<Rank>,
        read: Option<Rank>,
        read_at: Timestamp,
    ) -> Result<SavedList, StoreError> {
        let (mut state, now) = self.lock();
        if is_too_old(read_at, now) {
            return Ok(SavedList::of(WriteOutcome::TooOld));
        }
        let is_superseded = |stored: &ListState| match stored {
            ListState::Erased(version, at) => {
                list.rank <= (*version, None) || at.is_some_and(|at| read_at < at)
            }
            ListState::Present(stored) => list.rank <= stored.rank && replaces != Some(stored.rank),
        };
        if state.lists.get(user, now).is_some_and(is_superseded) {
            return Ok(SavedList::of(WriteOutcome::Superseded));
        }
        let replaced = match state.lists.get(user, now) {
            Some(ListState::Present(stored)) => Some(stored.clone()),
            Some(ListState::Erased(..)) | None => None,
        };
        let bytes = ENTRY_BYTES + user.as_str().len() + list.packed().len();
        let saved = ListState::Present(list.clone());
        let expires_at = now.plus(self.window);
        let before = state.lists.0.get(user).map_or(0, |entry| entry.bytes);
        self.budget.replace(before, bytes)?;
        let entry = ExpiringEntry {
            value: saved,
            expires_at,
            bytes,
        };
        state.lists.0.insert(user.clone(), entry);
        Ok(SavedList {
            outcome: WriteOutcome::Written,
            replaced: replaced.filter(|list| Some(list.rank) != read),
        })
    }

    async fn erase_list(
        &self,
        user: &UserId,
        version: Version,
        read_at: Timestamp,
    ) -> Result<Option<ListSlot>, StoreError> {
        let (mut state, now) = self.lock();
        if is_too_old(read_at, now) {
            return Ok(None);
        }
        let stored = state.lists.take(user, now, &self.budget);
        let above = stored.as_ref().map_or(0, |stored| stored.rank().0.0 + 1);
        state.mark_list(user, Version(version.0.max(above)), Some(now), now);
        Ok(Some(stored.map_or(ListSlot::Missing, |list| list.slot())))
    }

    async fn remove_copied_list(
        &self,
        user: &UserId,
        version: Version,
        read_at: Timestamp,
    ) -> Result<Option<ListSlot>, StoreError> {
        let (mut state, now) = self.lock();
        let stored = state.lists.get(user, now);
        let erased_at = match stored {
            Some(ListState::Erased(_, at)) => *at,
            Some(ListState::Present(_)) | None => None,
        };
        if is_too_old(read_at, now) || erased_at.is_some_and(|at| read_at < at) {
            return Ok(None);
        }
        let slot = stored.map_or(ListSlot::Missing, ListState::slot);
        if slot.version() <= Some(version) {
            state.lists.take(user, now, &self.budget);
            state.mark_list(user, version, erased_at, now);
        }
        Ok(Some(slot))
    }

    async fn rows(&self, items: &[ContentId]) -> Result<Vec<Option<NeighborRow>>, StoreError> {
        let (state, now) = self.lock();
        let row = |item| state.rows.get(item, now).cloned();
        Ok(items.iter().map(row).collect())
    }

    async fn save_row(
        &self,
        item: &ContentId,
        row: &NeighborRow,
    ) -> Result<WriteOutcome, StoreError> {
        let (mut state, now) = self.lock();
        if is_too_old(row.built_at(), now) {
            return Ok(WriteOutcome::TooOld);
        }
        let stored = state.rows.get(item, now);
        if stored.is_some_and(|stored| stored.built_at() > row.built_at()) {
            return Ok(WriteOutcome::Superseded);
        }
        state.rows.take(item, now, &self.budget);
        if !row.is_empty() {
            let row = row.clone();
            let bytes = ENTRY_BYTES + item.as_str().len() + row.byte_size();
            let expires_at = now.plus(self.window);
            state.rows.put(item, row, expires_at, bytes, &self.budget)?;
        }
        Ok(WriteOutcome::Written)
    }

    async fn rank_popularity(
        &self,
        ranking: PopularityRanking,
        item: &ContentId,
        key: Option<f64>,
    ) -> Result<(), StoreError> {
        let (mut state, _) = self.lock();
        let keys = match ranking {
            PopularityRanking::Popular => &mut state.popular,
            PopularityRanking::Trending => &mut state.trending,
        };
        let Some(key) = key else {
            keys.remove(item);
            return Ok(());
        };
        keys.insert(item.clone(), key);
        if keys.len() >= MAX_POPULAR + SURPLUS_POPULAR {
            for item in least_popular(keys) {
                keys.remove(&item);
            }
        }
        Ok(())
    }

    async fn popularity(
        &self,
        ranking: PopularityRanking,
    ) -> Result<Vec<(ContentId, f64)>, StoreError> {
        let (mut state, _) = self.lock();
        let keys = match ranking {
            PopularityRanking::Popular => &mut state.popular,
            PopularityRanking::Trending => &mut state.trending,
        };
        for item in least_popular(keys) {
            keys.remove(&item);
        }
        Ok(keys
            .iter()
            .map(|(item, key)| (item.clone(), *key))
            .collect())
    }
}

/// The items beyond the [`MAX_POPULAR`] with the largest keys, ties by id.
fn least_popular(keys: &HashMap<ContentId, f64>) -> Vec<ContentId> {
    if keys.len() <= MAX_POPULAR {
        return Vec::new();
    }
    let mut order: Vec<(&ContentId, f64)> = keys.iter().map(|(item, key)| (item, *key)).collect();
    order.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then_with(|| b.0.cmp(a.0)));
    let surplus = order.into_iter().skip(MAX_POPULAR);
    surplus.map(|(item, _)| item.clone()).collect()
}
