//! Refreshing an item: its audience, its neighbour row and its popularity.

use std::{collections::HashMap, sync::Arc};

use foldhash::{HashSet, fast::RandomState};

use super::{
    caches::{ItemTable, WrittenList},
    changes::PendingChanges,
    state::AssociationState,
};
use crate::{
    blocking,
    domain::{
        associations::{
            Audience, AudienceMember, InterestEntry, NeighborRow, RowChanges, neighbor_row,
            popularity, popularity_key, position_of,
        },
        ids::{ContentId, UserId},
        time::Timestamp,
    },
    ports::{
        AudienceChanges, ListSlot, PopularityRanking, StoreError, StoreErrorKind, WriteOutcome,
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

/// The decoded lists of an audience's members.
pub(super) type MemberLists<'a> = HashMap<&'a UserId, MemberList<'a>, RandomState>;

/// A member's interest list.
pub(super) struct MemberList<'a> {
    entries: MemberEntries<'a>,
    /// The position of the audience's item; `None` if the list lacks it.
    place: Option<usize>,
}

enum MemberEntries<'a> {
    Decoded(Vec<InterestEntry<&'a str>>),
    /// This process wrote it.
    Written(Arc<WrittenList>),
}

impl<'a> MemberList<'a> {
    fn new(entries: MemberEntries<'a>, item: &ContentId, time: Timestamp) -> Self {
        let item = item.as_str();
        let place = match &entries {
            MemberEntries::Decoded(entries) => position_of(entries, item, time),
            MemberEntries::Written(written) => position_of(written.list.entries(), item, time),
        };
        Self { entries, place }
    }

    /// When the user last engaged with the audience's item; `None` if the list lacks it.
    fn time(&self) -> Option<Timestamp> {
        let place = self.place?;
        match &self.entries {
            MemberEntries::Decoded(entries) => entries.get(place).map(|entry| entry.time),
            MemberEntries::Written(written) => {
                let entry = written.list.entries().get(place);
                entry.map(|entry| entry.time)
            }
        }
    }

    /// The entries at most `span` positions from the audience's item, numbered.
    fn around(&self, span: usize, table: &ItemTable) -> Vec<InterestEntry<u32>> {
        let Some(place) = self.place else {
            return Vec::new();
        };
        let around = place.saturating_sub(span)..place.saturating_add(span).saturating_add(1);
        let (start, end) = (around.start, around.end);
        match &self.entries {
            MemberEntries::Decoded(entries) => {
                let entries = entries.get(start..end.min(entries.len()));
                let entries = entries.unwrap_or_default();
                let numbers = table.numbers(entries.iter().map(|entry| entry.item));
                numbered(entries, &numbers)
            }
            MemberEntries::Written(written) => {
                let entries = written.list.entries();
                let end = end.min(entries.len());
                let numbers = written.numbers(table);
                let numbers = numbers.get(start..end).unwrap_or_default();
                numbered(entries.get(start..end).unwrap_or_default(), numbers)
            }
        }
    }
}

fn numbered<T>(entries: &[InterestEntry<T>], numbers: &[u32]) -> Vec<InterestEntry<u32>> {
    let entries = entries.iter().zip(numbers);
    entries
        .map(|(entry, number)| InterestEntry {
            item: *number,
            time: entry.time,
            strength: entry.strength,
        })
        .collect()
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
        let table = self.items.current();
        let numbers = table.numbers(pending.iter().map(|(item, _)| item.as_str()));
        self.read_sizes(&table, numbers.iter().copied()).await?;
        let replicas = self.settings.replicas;
        let mut due: Vec<(bool, RowChanges)> = {
            let sizes = table.read();
            let rows = pending.into_iter().zip(&*numbers);
            let rows = rows.map(|((item, pending), number)| {
                let changes = RowChanges {
                    changes: pending.count(),
                    audience_size: sizes.size(*number),
                    item,
                };
                (pending.is_forced(now), changes)
            });
            rows.filter(|(forced, changes)| *forced || changes.is_due(replicas))
                .collect()
        };
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
                audience_size: self.known_size(item),
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
        let lists = self.member_lists(item, &read);
        let audience = self.settle(item, &read, &lists, read_at).await?;
        meters::audience_size(audience.members().len());

        let table = self.items.current();
        let members = audience.members().iter().take(self.config.refresh_users);
        let lists = members.filter_map(|member| lists.get(&member.user));
        let span = self.config.pair_span;
        let lists: Vec<_> = lists.map(|list| list.around(span, &table)).collect();
        let number = table.number(item.as_str());
        let mut numbers: HashSet<u32> = HashSet::default();
        numbers.extend(lists.iter().flatten().map(|entry| entry.item));
        numbers.insert(number);
        self.read_sizes(&table, numbers.into_iter()).await?;
        table.set_sizes(std::slice::from_ref(item), &[audience.members().len()]);
        let row = blocking::in_place(|| {
            let items = table.read();
            let (id, size) = (|number| items.id(number), |number| items.size(number));
            neighbor_row(number, lists, id, size, read_at, &self.config)
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

    /// The readable lists of the members.
    pub(super) fn member_lists<'a>(
        &self,
        item: &ContentId,
        read: &'a ReadAudience,
    ) -> MemberLists<'a> {
        let mut lists = MemberLists::default();
        for (member, slot) in read.audience.members().iter().zip(&read.slots) {
            let Some(stored) = slot.present() else {
                continue;
            };
            let entries = match self.written.of_rank(&member.user, stored.rank) {
                Some(written) => MemberEntries::Written(written),
                None => match stored.entries() {
                    Ok(entries) => MemberEntries::Decoded(entries),
                    Err(_) => continue,
                },
            };
            let list = MemberList::new(entries, item, member.time);
            lists.insert(&member.user, list);
        }
        lists
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
            if let Some(time) = list.and_then(MemberList::time) {
                if time != member.time {
                    let user = member.user.clone();
                    changes.moved.push((user, member.time, time));
                }
                members.push(AudienceMember {
                    user: member.user.clone(),
                    time,
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

    /// The size of an item's audience, 0 if it is not known.
    fn known_size(&self, item: &ContentId) -> usize {
        let table = self.items.current();
        let number = table.number(item.as_str());
        table.read().size(number)
    }

    /// Reads the sizes that are not known yet.
    async fn read_sizes(
        &self,
        table: &ItemTable,
        items: impl Iterator<Item = u32> + Send,
    ) -> Result<(), StoreError> {
        let unknown = table.unknown_sizes(items);
        for items in unknown.chunks(SIZES_PER_READ) {
            let sizes = self.store.audience_sizes(items).await?;
            table.set_sizes(items, &sizes);
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
