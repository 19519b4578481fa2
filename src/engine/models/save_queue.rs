//! The users whose models are to be saved, and the models built for them meanwhile.
//!
//! A user is due one interval after the first append or build that is not saved, or
//! later if the model is dear. A model is held from its build to the end of its save.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::built_model::BuiltModel;
use crate::{
    domain::ids::UserId,
    ports::{ObservedVersion, Rank, Version},
    telemetry::spans::Cause,
};

/// Largest number of users in the queue. Beyond it, an append is not queued: the next
/// read builds the model.
const MAX_USERS: usize = 10_000;
/// Largest size of all held models. Beyond it, a build is saved at once.
const MAX_HELD_BYTES: usize = 32 << 20;
/// Largest number of distinct arrival times that are kept for the lag of a save.
const MAX_RECEIVED: usize = 64;
/// Largest number of traced calls that a save is linked to.
const MAX_CAUSES: usize = 16;
/// A user takes at most this share of a core: one part in 100.
const COST_FACTOR: u32 = 99;

/// What a note did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noted {
    /// It waits for a save of its own.
    Queued,
    /// It joined a save that was queued.
    Joined,
    /// The queue is full.
    Dropped,
}

/// What a save is for.
#[derive(Default)]
pub(super) struct SaveWork {
    /// The newest version that an append reported.
    pub(super) observed: Option<ObservedVersion>,
    /// When events were received, and how many. Empty if they were all known before.
    pub(super) received: Vec<(Instant, usize)>,
    /// The traced calls that appended.
    pub(super) causes: Vec<Cause>,
}

/// What to do next.
pub(super) enum Next {
    /// Save the model of this user, then call [`SaveQueue::finish`].
    Save(UserId, SaveWork),
    /// Nothing before this moment.
    Wait(Instant),
    /// The queue is empty.
    End,
}

type Due = (Instant, u64);
type Starter = Box<dyn Fn() + Send + Sync>;

/// The queue.
pub(super) struct SaveQueue {
    interval: Duration,
    max_users: usize,
    state: Mutex<QueueState>,
    changed: Notify,
    starter: OnceLock<Starter>,
}

#[derive(Default)]
struct QueueState {
    by_user: HashMap<UserId, Pending>,
    by_due: BTreeMap<Due, UserId>,
    /// When users with dear models may be saved again.
    not_before: HashMap<UserId, Instant>,
    next_number: u64,
    held_bytes: usize,
    /// Whether everything is due at once.
    is_flushing: bool,
    is_running: bool,
}

/// A user in the queue.
#[derive(Default)]
struct Pending {
    /// `None` while a save is in progress and no further one is due.
    due: Option<Due>,
    is_saving: bool,
    /// Whether an append was noted since the last save began.
    is_noted: bool,
    work: SaveWork,
    /// The newest version that a model was built of.
    built: Option<Version>,
    held: Option<BuiltModel>,
}

impl SaveQueue {
    /// An empty queue.
    pub(super) fn new(interval: Duration) -> Self {
        Self::bounded(interval, MAX_USERS)
    }

    fn bounded(interval: Duration, max_users: usize) -> Self {
        Self {
            interval,
            max_users,
            state: Mutex::default(),
            changed: Notify::new(),
            starter: OnceLock::new(),
        }
    }

    /// Whether models are saved before the acknowledgement.
    pub(super) fn is_immediate(&self) -> bool {
        self.interval.is_zero()
    }

    /// Sets what starts the task that calls [`SaveQueue::next`].
    pub(super) fn set_starter(&self, starter: Starter) {
        let _ = self.starter.set(starter);
    }

    /// Notes an append to a user's buffer.
    pub(super) fn note(
        &self,
        user: &UserId,
        observed: ObservedVersion,
        received: Option<(Instant, usize)>,
    ) -> Noted {
        let mut state = self.lock();
        let Some((pending, is_new)) = state.entry(user, self.max_users) else {
            return Noted::Dropped;
        };
        let noted = match (is_new, pending.is_noted) {
            (false, true) => Noted::Joined,
            (true, _) | (false, false) => Noted::Queued,
        };
        pending.is_noted = true;
        if pending
            .work
            .observed
            .is_none_or(|known| known.version <= observed.version)
        {
            pending.work.observed = Some(observed);
        }
        if pending.work.causes.len() < MAX_CAUSES {
            pending.work.causes.extend(Cause::current());
        }
        if let Some((at, events)) = received {
            let is_full = pending.work.received.len() >= MAX_RECEIVED;
            match pending.work.received.last_mut() {
                Some((_, count)) if is_full => *count += events,
                Some(_) | None => pending.work.received.push((at, events)),
            }
        }
        self.schedule(state, user);
        noted
    }

    /// Holds a model until it is saved. Returns false if there is no room.
    pub(super) fn hold(&self, user: &UserId, built: BuiltModel) -> bool {
        let mut state = self.lock();
        let bytes = built.byte_size();
        if let Some(pending) = state.by_user.get_mut(user) {
            pending.built = pending.built.max(Some(built.model.version));
        }
        if state.held_bytes + bytes > MAX_HELD_BYTES {
            return false;
        }
        let Some((pending, _)) = state.entry(user, self.max_users) else {
            return false;
        };
        let before = pending.held.replace(built);
        state.held_bytes += bytes;
        state.held_bytes -= before.map_or(0, |model| model.byte_size());
        self.schedule(state, user);
        true
    }

    /// The model that is held for a user.
    pub(super) fn held(&self, user: &UserId) -> Option<BuiltModel> {
        self.lock().by_user.get(user)?.held.clone()
    }

    /// What an append of this process reported, if no model of that version was built.
    pub(super) fn unbuilt(&self, user: &UserId) -> Option<ObservedVersion> {
        let state = self.lock();
        let pending = state.by_user.get(user)?;
        let observed = pending.work.observed;
        observed.filter(|observed| pending.built < observed.version)
    }

    /// Forgets a user.
    pub(super) fn forget(&self, user: &UserId) {
        let mut state = self.lock();
        state.not_before.remove(user);
        let Some(pending) = state.by_user.get_mut(user) else {
            return;
        };
        let (held, due) = (pending.held.take(), pending.due.take());
        pending.work = SaveWork::default();
        pending.is_noted = false;
        let is_saving = pending.is_saving;
        state.held_bytes -= held.map_or(0, |model| model.byte_size());
        if let Some(due) = due {
            state.by_due.remove(&due);
        }
        if !is_saving {
            state.by_user.remove(user);
        }
    }

    /// Takes the next user who is due.
    pub(super) fn next(&self, now: Instant) -> Next {
        let mut state = self.lock();
        let Some((due, user)) = state.by_due.first_key_value() else {
            state.is_running = false;
            return Next::End;
        };
        let (due, user) = (*due, user.clone());
        if due.0 > now && !state.is_flushing {
            return Next::Wait(due.0);
        }
        state.by_due.remove(&due);
        let mut work = SaveWork::default();
        if let Some(pending) = state.by_user.get_mut(&user) {
            pending.due = None;
            pending.is_saving = true;
            pending.is_noted = false;
            work = std::mem::take(&mut pending.work);
        }
        Next::Save(user, work)
    }

    /// Ends a user's save. `saved` is the model that was saved or refused, `cost` the
    /// time that its build and save took.
    pub(super) fn finish(&self, user: &UserId, saved: Option<Rank>, cost: Duration) {
        let now = Instant::now();
        let mut state = self.lock();
        let rest = cost * COST_FACTOR;
        if rest > self.interval {
            if state.not_before.len() >= self.max_users {
                state.not_before.retain(|_, moment| *moment > now);
            }
            state.not_before.insert(user.clone(), now + rest);
        } else {
            state.not_before.remove(user);
        }
        let Some(pending) = state.by_user.get_mut(user) else {
            return;
        };
        pending.is_saving = false;
        let is_done = |held: &BuiltModel| saved.is_none_or(|rank| held.model.rank() <= rank);
        let freed = pending.held.take_if(|held| is_done(held));
        let is_over = pending.held.is_none() && !pending.is_noted && pending.due.is_none();
        state.held_bytes -= freed.map_or(0, |model| model.byte_size());
        if is_over {
            state.by_user.remove(user);
        } else {
            self.schedule(state, user);
        }
    }

    /// Makes everything due at once, until the returned guard is dropped.
    pub(super) fn flush(&self) -> impl Drop + '_ {
        self.lock().is_flushing = true;
        self.changed.notify_one();
        Flushing(self)
    }

    /// Waits until an earlier moment may be due.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Gives a user a moment, unless they have one or are being saved.
    fn schedule(&self, mut state: MutexGuard<'_, QueueState>, user: &UserId) {
        let soonest = Instant::now() + self.interval;
        let due = state
            .not_before
            .get(user)
            .map_or(soonest, |moment| soonest.max(*moment));
        let due = (due, state.next_number);
        let Some(pending) = state.by_user.get_mut(user) else {
            return;
        };
        if pending.is_saving || pending.due.is_some() {
            return;
        }
        pending.due = Some(due);
        state.next_number += 1;
        state.by_due.insert(due, user.clone());
        let is_first = state
            .by_due
            .first_key_value()
            .is_some_and(|(first, _)| *first == due);
        let starts = !std::mem::replace(&mut state.is_running, true);
        drop(state);
        if starts {
            if let Some(starter) = self.starter.get() {
                starter();
            }
        } else if is_first {
            self.changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        // Every change ends in a consistent state before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Flushing<'a>(&'a SaveQueue);

impl Drop for Flushing<'_> {
    fn drop(&mut self) {
        self.0.lock().is_flushing = false;
    }
}

impl QueueState {
    /// The entry of a user and whether it is new; `None` if there is no room.
    fn entry(&mut self, user: &UserId, max_users: usize) -> Option<(&mut Pending, bool)> {
        let is_new = !self.by_user.contains_key(user);
        if is_new {
            if self.by_user.len() >= max_users {
                return None;
            }
            self.by_user.insert(user.clone(), Pending::default());
        }
        self.by_user.get_mut(user).map(|pending| (pending, is_new))
    }
}

#[cfg(test)]
mod tests;
