//! Merging two users: a visitor logs in.
//!
//! The keys of both lie in different slots of a cluster, so no step is atomic over both.
//! Events are copied first; those of `from` are removed only if they are still the ones
//! that were copied, else they are copied again. A merge that ends in the middle has
//! removed nothing that was not copied, and the next one completes it.

use super::{
    error::EngineError,
    handle::{Engine, Ports},
};
use crate::{
    domain::{event::StoredEvent, event_member, ids::UserId},
    ports::{
        AppendOutcome, Deadline, ModelSlot, ObservedBuffer, PageStart, StoreError, StoreErrorKind,
        StoredPage, Version, WaitingCaller,
    },
    telemetry::meters::{self, MergedEvent},
};

/// What a merge did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MergedUsers {
    /// Events that were added to the second user.
    pub moved: usize,
    /// Events that the second user had before.
    pub duplicates: usize,
}

impl MergedUsers {
    fn count(&mut self, outcomes: &[AppendOutcome]) {
        let count = |wanted| {
            outcomes
                .iter()
                .filter(|outcome| **outcome == wanted)
                .count()
        };
        self.moved += count(AppendOutcome::Accepted);
        self.duplicates += count(AppendOutcome::Duplicate);
    }

    /// Adds a further copy of the same user, for which what was moved before are
    /// duplicates.
    fn add(&mut self, copied: Self) {
        let before = copied.duplicates.saturating_sub(self.moved);
        self.duplicates = self.duplicates.max(before);
        self.moved += copied.moved;
    }
}

impl Engine {
    /// Moves all events of `from` to `into`, with the new user id, and takes `from` out
    /// of all audiences. The outcome equals that of one user from the start, if no
    /// `event_id` is in both buffers within 10 minutes; else the copy of `into` stays. An
    /// event of `from` that is appended meanwhile is moved, or stays with `from`. It is
    /// safe to repeat. Nothing is sent to the stores after `deadline`. The ids must
    /// differ.
    ///
    /// # Errors
    /// [`EngineError`]; then a part of the events may be in both buffers, and the next
    /// call completes the merge.
    pub async fn merge_users(
        &self,
        from: &UserId,
        into: &UserId,
        deadline: Deadline,
    ) -> Result<MergedUsers, EngineError> {
        let engine = self.clone();
        let (from, into) = (from.clone(), into.clone());
        let merge = async move { engine.merge(&from, &into, deadline).await };
        let tasks = &self.inner.tasks;
        tasks.spawn_to_completion("merge users", merge).await?
    }

    async fn merge(
        &self,
        from: &UserId,
        into: &UserId,
        deadline: Deadline,
    ) -> Result<MergedUsers, EngineError> {
        let mut merged = MergedUsers::default();
        // Events came meanwhile, or an erasure: it begins again with a new read.
        while !deadline.remaining().is_zero() {
            let before = self.observe(from).await?;
            let mut copied = MergedUsers::default();
            let result = self.copy(from, into, deadline, &mut copied).await;
            merged.add(copied);
            meters::merged_events(MergedEvent::Moved, copied.moved);
            result?;
            if copied != MergedUsers::default() {
                // Before the events of `from` are removed: an earlier call, whose copies
                // are duplicates now, may have ended before.
                self.inner.models.after_merge(into).await?;
            }
            if self.remove_copied(from, &before, deadline).await? {
                meters::merged_events(MergedEvent::Duplicate, merged.duplicates);
                return Ok(merged);
            }
        }
        Err(EngineError::TimedOut)
    }

    /// Appends the events of `from` to the buffer of `into`, oldest first, in pages.
    async fn copy(
        &self,
        from: &UserId,
        into: &UserId,
        deadline: Deadline,
        copied: &mut MergedUsers,
    ) -> Result<(), EngineError> {
        let (caller, _guard) = WaitingCaller::new(deadline);
        let mut start = Some(PageStart::FIRST);
        while let Some(from_here) = start {
            if deadline.remaining().is_zero() {
                return Err(EngineError::TimedOut);
            }
            let page = self.stored_page(from, from_here).await?;
            let events = of_user(&page, into).map_err(EngineError::user_state)?;
            start = page.next;
            if events.is_empty() {
                continue;
            }
            let appended = self.inner.ports.events.append(into, &events, &caller).await;
            copied.count(&appended.map_err(EngineError::user_state)?.outcomes);
        }
        Ok(())
    }

    /// Removes the user's events, if they are still those that were observed before they
    /// were copied, and all that was derived from them. Returns whether it did: else
    /// there are other events, or it was refused.
    async fn remove_copied(
        &self,
        user: &UserId,
        before: &ObservedBuffer,
        deadline: Deadline,
    ) -> Result<bool, EngineError> {
        let Ports { events, models, .. } = &self.inner.ports;
        let copied = self.observe(user).await?;
        if !copied.has_events_of(before) {
            return Ok(false);
        }
        let read_at = copied.observed_at;
        let floor = match self.model_slot(user).await? {
            ModelSlot::Missing | ModelSlot::Unreadable => Version(0),
            ModelSlot::Erased(version) => version,
            ModelSlot::Present(model) => model.version,
        };
        let associations = &self.inner.associations;
        let Some(departure) = associations.begin_erasure(user, read_at).await? else {
            return Ok(false);
        };
        let floor = floor.max(departure.floor());
        if deadline.remaining().is_zero() {
            return Err(EngineError::TimedOut);
        }
        self.inner.models.forget(user);
        let removed = events.remove_copied(user, &copied, floor).await;
        let Some(version) = removed.map_err(EngineError::user_state)? else {
            return Ok(false);
        };
        self.inner.models.forget(user);
        if deadline.remaining().is_zero() {
            return Err(EngineError::TimedOut);
        }
        let has_left = associations.end_merge(user, &departure, version).await?;
        if !has_left {
            return Ok(false);
        }
        if deadline.remaining().is_zero() {
            return Err(EngineError::TimedOut);
        }
        let removed = models.remove_copied(user, version, read_at).await;
        self.inner.models.forget(user);
        removed.map_err(EngineError::user_state)
    }

    async fn observe(&self, user: &UserId) -> Result<ObservedBuffer, EngineError> {
        let observed = self.inner.ports.events.observe(user).await;
        observed.map_err(EngineError::user_state)
    }
}

/// The readable events of a page that are in the window, as if `user` had sent them.
fn of_user(page: &StoredPage, user: &UserId) -> Result<Vec<StoredEvent>, StoreError> {
    let events = page
        .events
        .iter()
        .filter_map(|stored| stored.event.as_ref());
    events
        .map(|event| {
            event_member::with_user(event, user).map_err(|error| {
                StoreError::new(StoreErrorKind::Corrupt, "event cannot be written").caused_by(error)
            })
        })
        .collect()
}
