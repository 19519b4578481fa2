//! Refreshing an item: its audience, its neighbour row and its popularity.

use std::{collections::HashMap, sync::Arc};

use foldhash::{HashSet, fast::RandomState};

use super::{changes::PendingChanges, state::AssociationState};
use crate::{
    blocking,
    domain::{
        associations::{
            Audience, AudienceMember, InterestEntry, NeighborRow, RowChanges, neighbor_row,
            popularity, popularity_key,
        },
        ids::{ContentId, UserId},
        time::Timestamp,
    },
    ports::{
        AudienceChanges, ListSlot, PopularityRanking, StoreError, StoreErrorKind, StoredList,
        WriteOutcome,
    },
    telemetry::meters::{self, RowRefresh},
};

/// Audience sizes per read.
const SIZES_PER_READ: usize = 2_000;

/// An audience as it was read, then its members' lists, in the order of the members.
pub(super) struct ReadAudience {
    audience: Audience,
    slots: Vec<ListSlot>,
}

impl ReadAudience {
    /// The readable lists of the members.
    pub(super) fn lists(&self, item: &ContentId) -> MemberLists<'_> {
        let mut lists = MemberLists::default();
        for (member, slot) in self.audience.members().iter().zip(&self.slots) {
            let Some(Ok(entries)) = slot.present().map(StoredList::entries) else {
                continue;
            };
            let place = entries.iter().position(|entry| entry.item == item.as_str());
            lists.insert(&member.user, MemberList { entries, place });
        }
        lists
    }
}

/// The decoded lists of an audience's members.
pub(super) type MemberLists<'a> = HashMap<&'a UserId, MemberList<'a>, RandomState>;

/// A member's interest list.
pub(super) struct MemberList<'a> {
    entries: Vec<InterestEntry<&'a str>>,
    /// The position of the audience's item; `None` if the list lacks it.
    place: Option<usize>,
}

impl AssociationState {
    /// The rows that are due, those to refresh first in front.
    pub(super) async fn due(
        &self,
        now: Timestamp,
        only_forced: bool,
    ) -> Result<Vec<ContentId>, StoreError> {
        let mut pending = self.changes.all();
        if only_forced {
            pending.retain(|(_, pending)| pending.is_forced(now));
        }
        self.read_sizes(pending.iter().map(|(item, _)| item.clone()))
            .await?;
        let replicas = self.settings.replicas;
        let mut due: Vec<(bool, RowChanges)> = self.sizes.with(|size| {
            let rows = pending.into_iter().map(|(item, pending)| {
                let changes = RowChanges {
                    changes: pending.count(),
                    audience_size: size(item.as_str()),
                    item,
                };
                (pending.is_forced(now), changes)
            });
            rows.filter(|(forced, changes)| *forced || changes.is_due(replicas))
                .collect()
        });
        due.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.refresh_order(&b.1)));
        for (_, changes) in &due {
            self.changes.set_due(&changes.item, now);
        }
        Ok(due.into_iter().map(|(_, changes)| changes.item).collect())
    }

    /// Refreshes a due item, unless another process has done so since its changes. If
    /// it fails, the item stays due.
    pub(super) async fn refresh_if_due(&self, item: &ContentId) -> Result<(), StoreError> {
        let now = self.now().await?;
        let mut taken = self.changes.take(item, now);
        let refreshed = self.refresh_taken(item, now, &mut taken).await;
        let outcome = match &refreshed {
            Ok(outcome) => *outcome,
            Err(_) => RowRefresh::Failed,
        };
        meters::row_refresh(outcome);
        match outcome {
            RowRefresh::Built => {
                if let (Some(since), Ok(built)) = (taken.due_since, self.now().await) {
                    meters::row_lag(built.seconds_since(since).max(0.0));
                }
            }
            // What is left is not due yet.
            RowRefresh::Current => self.changes.put_back(item, taken),
            RowRefresh::Superseded => {}
            RowRefresh::Failed => self.changes.put_back(item, taken),
        }
        refreshed.map(|_| ())
    }

    async fn refresh_taken(
        &self,
        item: &ContentId,
        now: Timestamp,
        taken: &mut PendingChanges,
    ) -> Result<RowRefresh, StoreError> {
        let mut stored = self.store.rows(std::slice::from_ref(item)).await?;
        if let Some(row) = stored.pop().flatten() {
            let mut left = taken.clone();
            left.drop_before(row.built_at());
            let changes = RowChanges {
                item: item.clone(),
                changes: left.count(),
                audience_size: self.sizes.with(|size| size(item.as_str())),
            };
            if !left.is_forced(now) && !changes.is_due(self.settings.replicas) {
                *taken = left;
                self.rows.insert(item, Some(Arc::new(row)), now);
                return Ok(RowRefresh::Current);
            }
        }
        self.refresh(item).await
    }

    /// Refreshes an item whatever changed.
    pub(super) async fn refresh(&self, item: &ContentId) -> Result<RowRefresh, StoreError> {
        let read_at = self.now().await?;
        let read = self.read_audience(item).await?;
        let lists = read.lists(item);
        let audience = self.settle(item, &read, &lists, read_at).await?;
        meters::audience_size(audience.members().len());

        let members = audience.members().iter().take(self.config.refresh_users);
        let lists: Vec<&MemberList<'_>> = members
            .filter_map(|member| lists.get(&member.user))
            .collect();
        let mut items: HashSet<&str> = HashSet::default();
        let span = self.config.pair_span;
        for list in &lists {
            if let Some(place) = list.place {
                let near = list
                    .entries
                    .iter()
                    .skip(place.saturating_sub(span))
                    .take(2 * span + 1);
                items.extend(near.map(|entry| entry.item));
            }
        }
        items.insert(item.as_str());
        self.read_sizes(items.into_iter().map(ContentId::from))
            .await?;
        self.sizes
            .insert(vec![item.clone()], vec![audience.members().len()]);
        let row = blocking::in_place(|| {
            self.sizes.with(|size| {
                let lists = lists.iter().map(|list| list.entries.iter().cloned());
                neighbor_row(item.as_str(), lists, size, read_at, &self.config)
            })
        });
        self.save(item, row, &audience, read_at).await
    }

    async fn save(
        &self,
        item: &ContentId,
        row: NeighborRow,
        audience: &Audience,
        read_at: Timestamp,
    ) -> Result<RowRefresh, StoreError> {
        match self.store.save_row(item, &row).await? {
            WriteOutcome::Written => {}
            WriteOutcome::Superseded => return Ok(RowRefresh::Superseded),
            WriteOutcome::TooOld => return Err(too_late()),
        }
        let row = (!row.is_empty()).then(|| Arc::new(row));
        self.rows.insert(item, row, read_at);
        for (ranking, half_life_days) in [
            (
                PopularityRanking::Popular,
                self.config.popularity_half_life_days,
            ),
            (
                PopularityRanking::Trending,
                self.config.trending_half_life_days,
            ),
        ] {
            let sum = popularity(audience, read_at, half_life_days, self.config.audience_max);
            let key = popularity_key(sum, read_at, half_life_days);
            self.store.rank_popularity(ranking, item, key).await?;
        }
        Ok(RowRefresh::Built)
    }

    pub(super) async fn read_audience(&self, item: &ContentId) -> Result<ReadAudience, StoreError> {
        let audience = self.store.audience(item, self.config.audience_max).await?;
        let members = audience.members().iter();
        let users: Vec<UserId> = members.map(|member| member.user.clone()).collect();
        let slots = self.store.lists(&users).await?;
        Ok(ReadAudience { audience, slots })
    }

    /// Corrects the stored audience by its members' lists. Returns the members whose
    /// lists have the item, with the times of the lists, and those that stay although
    /// their lists lack it.
    pub(super) async fn settle(
        &self,
        item: &ContentId,
        read: &ReadAudience,
        lists: &MemberLists<'_>,
        read_at: Timestamp,
    ) -> Result<Audience, StoreError> {
        let (audience, changes) = self.compare(read, lists).await?;
        match self.store.settle_audience(item, &changes, read_at).await? {
            WriteOutcome::Written | WriteOutcome::Superseded => Ok(audience),
            WriteOutcome::TooOld => Err(too_late()),
        }
    }

    /// Compares an audience with its members' lists.
    async fn compare(
        &self,
        read: &ReadAudience,
        lists: &MemberLists<'_>,
    ) -> Result<(Audience, AudienceChanges), StoreError> {
        let mut changes = AudienceChanges::default();
        let mut members = Vec::with_capacity(read.audience.members().len());
        for (member, slot) in read.audience.members().iter().zip(&read.slots) {
            let list = lists.get(&member.user);
            if let Some(entry) = list.and_then(|list| list.entries.get(list.place?)) {
                if entry.time != member.time {
                    let user = member.user.clone();
                    changes.moved.push((user, member.time, entry.time));
                }
                members.push(AudienceMember {
                    user: member.user.clone(),
                    time: entry.time,
                });
                continue;
            }
            // Read after the list: an engagement that the list lacks has raised it.
            let buffer = self.events.version(&member.user).await?.version;
            if buffer.is_none() || slot.version() >= buffer {
                changes.removed.push((member.user.clone(), member.time));
            } else {
                members.push(member.clone());
            }
        }
        let audience = Audience::new(members, self.config.audience_max);
        Ok((audience, changes))
    }

    /// Reads the sizes that are not known yet.
    async fn read_sizes(
        &self,
        items: impl Iterator<Item = ContentId> + Send,
    ) -> Result<(), StoreError> {
        let unknown = self.sizes.unknown(items);
        for items in unknown.chunks(SIZES_PER_READ) {
            let sizes = self.store.audience_sizes(items).await?;
            self.sizes.insert(items.to_vec(), sizes);
        }
        Ok(())
    }
}

pub(super) fn too_late() -> StoreError {
    StoreError::new(
        StoreErrorKind::Unavailable,
        "a refresh of associations took too long",
    )
}
