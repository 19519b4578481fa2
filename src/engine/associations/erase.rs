//! Taking an erased user out of associations.

use std::{collections::BTreeMap, time::Duration};

use super::state::AssociationState;
use crate::{
    domain::{
        ids::{ContentId, UserId},
        time::Timestamp,
    },
    ports::{Engagement, ListSlot, MAX_READ_AGE, StoreError, Version},
};

/// When the rows of an erased user's items are due: no refresh of lists that were read
/// before the erasure, and no write of such a refresh, can come later.
const DUE_AFTER_ERASURE: Duration = Duration::from_secs(2 * MAX_READ_AGE.as_secs() + 1);

/// The audiences that an erased user has left.
pub(crate) struct Departure {
    /// Their items.
    items: BTreeMap<ContentId, Timestamp>,
    /// The store's time before anything was read.
    read_at: Timestamp,
    floor: Version,
}

impl Departure {
    /// A version as high as that of the user's list.
    pub(crate) fn floor(&self) -> Version {
        self.floor
    }
}

impl AssociationState {
    /// Takes the user out of the audiences of all items in the list and in the buffer.
    /// To be called before either is deleted, with the time of the erasure's first
    /// read. `None` if that is too long ago.
    pub(super) async fn begin_erasure(
        &self,
        user: &UserId,
        read_at: Timestamp,
    ) -> Result<Option<Departure>, StoreError> {
        let mut items: BTreeMap<ContentId, Timestamp> = BTreeMap::new();
        let slots = self.store.lists(std::slice::from_ref(user)).await?;
        for (item, time) in slots.iter().flat_map(engagements) {
            items.insert(item, time);
        }
        let buffer = self.events.read(user).await?;
        for stored in &buffer.events {
            if let Some(item) = &stored.event.content_id {
                let time = items.entry(item.clone()).or_insert(stored.event.time);
                *time = (*time).max(stored.event.time);
            }
        }
        let left: Vec<Engagement> = items.iter().map(|(i, time)| (i.clone(), *time)).collect();
        let floor = slots.iter().filter_map(ListSlot::version).max();
        let has_left = self.leave(user, &left, read_at).await?;
        Ok(has_left.then_some(Departure {
            items,
            read_at,
            floor: floor.unwrap_or(Version(0)),
        }))
    }

    /// Erases the user's list, after the buffer was deleted. Returns whether there was
    /// one; `None` if its first read is too long ago.
    pub(super) async fn end_erasure(
        &self,
        user: &UserId,
        departure: Departure,
        version: Version,
    ) -> Result<Option<bool>, StoreError> {
        let read_at = departure.read_at;
        let erased = self.store.erase_list(user, version, read_at).await?;
        self.written.remove(user);
        let Some(slot) = erased else {
            return Ok(None);
        };
        let has_left = self.leave_rest(user, &departure, &slot).await?;
        Ok(has_left.then(|| slot.present().is_some()))
    }

    /// Removes the user's list, after the user's events were copied to another one and
    /// removed, with their marker's version. A list of later events stays. Returns
    /// whether it was done: not if the first read is too long ago or before an erasure.
    pub(super) async fn end_merge(
        &self,
        user: &UserId,
        departure: &Departure,
        version: Version,
    ) -> Result<bool, StoreError> {
        let read_at = departure.read_at;
        let removed = self.store.remove_copied_list(user, version, read_at);
        let removed = removed.await?;
        self.written.remove(user);
        match removed {
            None => Ok(false),
            Some(slot) if slot.version() > Some(version) => Ok(true),
            Some(slot) => self.leave_rest(user, departure, &slot).await,
        }
    }

    /// Takes the user out of the audiences of items that a build added to the list in the
    /// meantime.
    async fn leave_rest(
        &self,
        user: &UserId,
        departure: &Departure,
        slot: &ListSlot,
    ) -> Result<bool, StoreError> {
        let mut added = engagements(slot);
        added.retain(|(item, time)| departure.items.get(item).is_none_or(|left| left < time));
        self.leave(user, &added, departure.read_at).await
    }

    /// Whether the user has left the audiences: not if the read is too long ago.
    async fn leave(
        &self,
        user: &UserId,
        left: &[Engagement],
        read_at: Timestamp,
    ) -> Result<bool, StoreError> {
        // Whether or not the call succeeds.
        for (item, _) in left {
            self.changes.force(item, read_at.plus(DUE_AFTER_ERASURE));
        }
        self.written.remove(user);
        let refused = self.store.leave_audiences(user, left, read_at).await?;
        Ok(refused.is_empty())
    }
}

fn engagements(slot: &ListSlot) -> Vec<Engagement> {
    let list = slot.present().and_then(|list| list.list().ok());
    let entries = list.iter().flat_map(|list| list.entries());
    entries
        .map(|entry| (entry.item.clone(), entry.time))
        .collect()
}
