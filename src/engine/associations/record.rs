//! Recording a user's interest list when the user's model is built.

use std::{collections::HashSet, time::Duration};

use super::state::AssociationState;
use crate::{
    domain::{
        associations::{InterestEntry, InterestList},
        ids::{ContentId, UserId},
        time::Timestamp,
    },
    ports::{Engagement, ListSlot, MAX_READ_AGE, Rank, StoreError, StoredList, WriteOutcome},
};

/// When the rows of items are due whose audiences a refused writer has changed: no
/// write of the same data can come later.
const DUE_AFTER_REFUSAL: Duration = Duration::from_secs(MAX_READ_AGE.as_secs() + 1);

/// An interest list to record, with the model that it is from.
pub(crate) struct RecordRequest<'a> {
    pub(crate) user: &'a UserId,
    pub(crate) list: &'a InterestList,
    /// The model's rank.
    pub(crate) rank: Rank,
    /// The rank of a stored model to replace, even if it is higher.
    pub(crate) replaces: Option<Rank>,
    /// The store's time at which the events of the model were read.
    pub(crate) read_at: Timestamp,
    /// Whether all items are written to their audiences, not only those that changed.
    pub(crate) writes_all: bool,
}

impl AssociationState {
    /// Adds the user to the audiences of the items that changed, then saves the list.
    pub(super) async fn record(&self, request: RecordRequest<'_>) -> Result<(), StoreError> {
        let RecordRequest {
            user,
            list,
            rank,
            read_at,
            ..
        } = request;
        let (before, read) = self.stored_list(user).await?;
        let changed = list.changed_since(&before).map(|(_, entry)| entry);
        let engagement = |entry: &InterestEntry| (entry.item.clone(), entry.time);
        let engagements: Vec<Engagement> = if request.writes_all {
            list.entries().iter().map(engagement).collect()
        } else {
            changed.map(engagement).collect()
        };
        let refused = if engagements.is_empty() {
            Vec::new()
        } else {
            let audience_max = self.config.audience_max;
            let joined = self
                .store
                .join_audiences(user, &engagements, audience_max, read_at);
            joined.await?
        };
        let stored = StoredList::new(rank, list);
        let saved = self
            .store
            .save_list(user, &stored, request.replaces, read, read_at);
        let saved = saved.await?;
        let after = self.now().await?;
        if saved.outcome == WriteOutcome::Written && refused.is_empty() {
            self.written.insert(user, list, rank, after);
        } else {
            self.written.remove(user);
            let due_at = after.plus(DUE_AFTER_REFUSAL);
            for (item, _) in &engagements {
                self.changes.force(item, due_at);
            }
        }
        // Another process may have written a list after this one read it.
        let replaced = saved.replaced.map(|other| other.list().unwrap_or_default());
        self.count_changes(list, replaced.as_ref().unwrap_or(&before), after);
        Ok(())
    }

    /// Counts the changes of rows by a list that replaces an earlier one.
    fn count_changes(&self, list: &InterestList, earlier: &InterestList, now: Timestamp) {
        for (position, _) in list.changed_since(earlier) {
            for entry in list.changed_by(position) {
                self.changes.count(&entry.item, now);
            }
        }
        for item in removed(earlier, list) {
            self.changes.count(item, now);
        }
    }

    /// The stored list and its rank. Always read: what another process has written since
    /// this one did may have items that the new list lacks, and their rows are due.
    async fn stored_list(&self, user: &UserId) -> Result<(InterestList, Option<Rank>), StoreError> {
        let slots = self.store.lists(std::slice::from_ref(user)).await?;
        let Some(stored) = slots.first().and_then(ListSlot::present) else {
            return Ok((InterestList::default(), None));
        };
        let list = match self.written.of_rank(user, stored.rank) {
            Some(written) => written.list.clone(),
            // An unreadable list is replaced, and all its items count as changed.
            None => stored.list().unwrap_or_default(),
        };
        Ok((list, Some(stored.rank)))
    }
}

/// The items that only the earlier list has.
fn removed<'a>(before: &'a InterestList, list: &InterestList) -> Vec<&'a ContentId> {
    let items: HashSet<&str> = list.iter().map(|entry| entry.item).collect();
    let earlier = before.entries().iter().map(|entry| &entry.item);
    earlier
        .filter(|item| !items.contains(item.as_str()))
        .collect()
}
