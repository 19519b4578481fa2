//! Taking an erased user out of associations.

use std::{collections::BTreeMap, time::Duration};

use super::{refresh::too_late, state::AssociationState};
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

/// What an erasure knows of its user.
pub(in super::super) struct Erasure {
    /// The items whose audiences the user has left.
    items: BTreeMap<ContentId, Timestamp>,
    /// The store's time before anything was read.
    read_at: Timestamp,
}

impl AssociationState {
    /// Takes the user out of the audiences of all items in the list and in the buffer.
    /// To be called before either is deleted.
    pub(super) async fn begin_erasure(&self, user: &UserId) -> Result<Erasure, StoreError> {
        let read_at = self.now().await?;
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
        self.leave(user, &left, read_at).await?;
        Ok(Erasure { items, read_at })
    }

    /// Erases the user's list, after the buffer was deleted. Returns whether there was
    /// one.
    pub(super) async fn end_erasure(
        &self,
        user: &UserId,
        erasure: Erasure,
        version: Version,
    ) -> Result<bool, StoreError> {
        let read_at = erasure.read_at;
        let erased = self.store.erase_list(user, version, read_at).await?;
        self.written.remove(user);
        let slot = erased.ok_or_else(too_late)?;
        // Items that a build added in the meantime.
        let mut added = engagements(&slot);
        added.retain(|(item, time)| erasure.items.get(item).is_none_or(|left| left < time));
        self.leave(user, &added, read_at).await?;
        Ok(slot.present().is_some())
    }

    async fn leave(
        &self,
        user: &UserId,
        left: &[Engagement],
        read_at: Timestamp,
    ) -> Result<(), StoreError> {
        // Whether or not the call succeeds.
        for (item, _) in left {
            self.changes.force(item, read_at.plus(DUE_AFTER_ERASURE));
        }
        self.written.remove(user);
        let refused = self.store.leave_audiences(user, left, read_at).await?;
        if refused.is_empty() {
            Ok(())
        } else {
            Err(too_late())
        }
    }
}

fn engagements(slot: &ListSlot) -> Vec<Engagement> {
    let list = slot.present().and_then(|list| list.list().ok());
    let entries = list.iter().flat_map(|list| list.entries());
    entries
        .map(|entry| (entry.item.clone(), entry.time))
        .collect()
}
