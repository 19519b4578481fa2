//! Audiences, interest lists, neighbour rows and popularity.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{error::StoreError, events::Version, models::Rank};
use crate::domain::{
    associations::{Audience, InterestEntry, InterestList, NeighborRow, PackedError},
    ids::{ContentId, UserId},
    time::Timestamp,
};

/// A write that is based on data read longer ago is refused, by the store's clock:
/// an erased user's data, read before the erasure, must not come back after it.
pub const MAX_READ_AGE: Duration = Duration::from_secs(30);
/// Items that each popularity ranking keeps, the most popular.
pub const MAX_POPULAR: usize = 10_000;

/// The outcome of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// It is stored.
    Written,
    /// Something newer is stored, or the user was erased. Nothing has changed.
    Superseded,
    /// Its data was read more than [`MAX_READ_AGE`] ago. Nothing has changed.
    TooOld,
}

/// The result of saving an interest list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedList {
    /// The outcome of the write.
    pub outcome: WriteOutcome,
    /// The list that was replaced, unless it has the rank that the caller had read.
    pub replaced: Option<StoredList>,
}

impl SavedList {
    /// A write that replaced no other list than the caller had read.
    #[must_use]
    pub fn of(outcome: WriteOutcome) -> Self {
        Self {
            outcome,
            replaced: None,
        }
    }
}

/// An interest list as it is stored, with the rank of the model that it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredList {
    /// The (version, `built_at`) of the model.
    pub rank: Rank,
    packed: Arc<[u8]>,
    /// Where the packed list starts in `packed`.
    start: usize,
}

impl StoredList {
    /// A list with the rank of its model.
    #[must_use]
    pub fn new(rank: Rank, list: &InterestList) -> Self {
        Self::from_packed(rank, list.encode().into(), 0)
    }

    /// A packed list, which starts at `start` of these bytes.
    #[must_use]
    pub fn from_packed(rank: Rank, packed: Arc<[u8]>, start: usize) -> Self {
        Self {
            rank,
            packed,
            start,
        }
    }

    /// The packed list.
    #[must_use]
    pub fn packed(&self) -> &[u8] {
        self.packed.get(self.start..).unwrap_or_default()
    }

    /// The list.
    ///
    /// # Errors
    /// [`PackedError`] if it is malformed.
    pub fn list(&self) -> Result<InterestList, PackedError> {
        InterestList::decode(self.packed())
    }

    /// The list's entries with borrowed ids, the oldest first.
    ///
    /// # Errors
    /// [`PackedError`] if it is malformed.
    pub fn entries(&self) -> Result<Vec<InterestEntry<&str>>, PackedError> {
        InterestList::decode_entries(self.packed())
    }
}

/// The content of a user's slot for an interest list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListSlot {
    /// Nothing.
    Missing,
    /// Data that is not a list. Treated as missing.
    Unreadable,
    /// The user was erased less than [`ERASED_FOR`](super::ERASED_FOR) ago. The
    /// version is above that of every list before the erasure.
    Erased(Version),
    /// A list.
    Present(StoredList),
}

impl ListSlot {
    /// The version of the buffer that it reflects; `None` if it is missing or
    /// unreadable.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        match self {
            Self::Missing | Self::Unreadable => None,
            Self::Erased(version) => Some(*version),
            Self::Present(list) => Some(list.rank.0),
        }
    }

    /// The list, if there is one.
    #[must_use]
    pub fn present(&self) -> Option<&StoredList> {
        match self {
            Self::Present(list) => Some(list),
            Self::Missing | Self::Unreadable | Self::Erased(_) => None,
        }
    }
}

/// A user's engagement with an item: the item, and when the user last engaged.
pub type Engagement = (ContentId, Timestamp);

/// The correction of an audience by its members' interest lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AudienceChanges {
    /// Members whose time differs from that of their lists: the user, the time that
    /// was read, and the list's.
    pub moved: Vec<(UserId, Timestamp, Timestamp)>,
    /// Members to remove, with the time that was read.
    pub removed: Vec<(UserId, Timestamp)>,
}

/// A ranking of items by popularity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PopularityRanking {
    /// With the longer half-life.
    Popular,
    /// With the shorter half-life.
    Trending,
}

/// What other users did: audiences, interest lists, neighbour rows and popularity.
///
/// * Times and versions follow the store's clock, never the caller's.
/// * A method with `read_at` takes the store's time at which the caller read the
///   data that it writes, and refuses what is older than [`MAX_READ_AGE`].
/// * Audiences, lists and rows expire one window after their last write.
/// * Ids are any text: users or items with different ids have different entries.
#[async_trait]
pub trait AssociationStore: Send + Sync {
    /// Adds a user to the audiences of items. A member's time never falls. Each
    /// audience keeps its newest `audience_max` members, at equal times those with
    /// the bytewise larger ids. Returns the items whose write was too old.
    ///
    /// # Errors
    /// [`StoreError`]; then the user may have been added to any of them, and it is
    /// safe to call again.
    async fn join_audiences(
        &self,
        user: &UserId,
        engagements: &[Engagement],
        audience_max: usize,
        read_at: Timestamp,
    ) -> Result<Vec<ContentId>, StoreError>;

    /// Removes a user from the audiences of items, where the user's time is not
    /// above the given one. Returns the items whose write was too old.
    ///
    /// # Errors
    /// [`StoreError`]; then the user may have been removed from any of them.
    async fn leave_audiences(
        &self,
        user: &UserId,
        engagements: &[Engagement],
        read_at: Timestamp,
    ) -> Result<Vec<ContentId>, StoreError>;

    /// Reads the members of an item's audience in the window, at most
    /// `audience_max`.
    ///
    /// # Errors
    /// [`StoreError`]. Members that are not user ids are left out.
    async fn audience(&self, item: &ContentId, audience_max: usize)
    -> Result<Audience, StoreError>;

    /// Reads the number of members of audiences; one for each item, in order.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn audience_sizes(&self, items: &[ContentId]) -> Result<Vec<usize>, StoreError>;

    /// Removes members that are older than the window, and applies changes to those
    /// members whose time is not above the one that was read.
    ///
    /// # Errors
    /// [`StoreError`]; then the changes may have been applied.
    async fn settle_audience(
        &self,
        item: &ContentId,
        changes: &AudienceChanges,
        read_at: Timestamp,
    ) -> Result<WriteOutcome, StoreError>;

    /// Reads the interest lists of users; one slot for each, in order.
    ///
    /// # Errors
    /// [`StoreError`]. An unreadable list is `Unreadable`, not an error.
    async fn lists(&self, users: &[UserId]) -> Result<Vec<ListSlot>, StoreError>;

    /// Saves an interest list if its rank is higher than that of the stored one, or
    /// if the stored one still has exactly the rank `replaces`; unless the user was
    /// erased after `read_at`. `read` is the rank of the list that the caller read
    /// before, `None` if there was none: another list, which is replaced, is returned.
    ///
    /// # Errors
    /// [`StoreError`]; then it may have been saved.
    async fn save_list(
        &self,
        user: &UserId,
        list: &StoredList,
        replaces: Option<Rank>,
        read: Option<Rank>,
        read_at: Timestamp,
    ) -> Result<SavedList, StoreError>;

    /// Removes a user's list and leaves, for [`ERASED_FOR`](super::ERASED_FOR), a
    /// marker without data. Its version is at least `version`, and above that of
    /// the list. Returns the slot as it was; `None` if the write is too old.
    ///
    /// # Errors
    /// [`StoreError`]; then the list may have been removed.
    async fn erase_list(
        &self,
        user: &UserId,
        version: Version,
        read_at: Timestamp,
    ) -> Result<Option<ListSlot>, StoreError>;

    /// Removes the list of a user whose events were copied to another one, and leaves a
    /// marker of this version for [`ERASED_FOR`](super::ERASED_FOR), without a time of
    /// its own; the time of an earlier erasure stays. A list or a marker of a higher
    /// version stays. Returns the slot as it was; `None` if the write is too old or from
    /// before an erasure.
    ///
    /// # Errors
    /// [`StoreError`]; then the list may have been removed.
    async fn remove_copied_list(
        &self,
        user: &UserId,
        version: Version,
        read_at: Timestamp,
    ) -> Result<Option<ListSlot>, StoreError>;

    /// Reads neighbour rows; one for each item, in order. An unreadable row counts
    /// as missing.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn rows(&self, items: &[ContentId]) -> Result<Vec<Option<NeighborRow>>, StoreError>;

    /// Saves an item's row, or removes it if it is empty, unless the stored row was
    /// built later. Its build time counts as `read_at`.
    ///
    /// # Errors
    /// [`StoreError`]; then it may have been saved.
    async fn save_row(
        &self,
        item: &ContentId,
        row: &NeighborRow,
    ) -> Result<WriteOutcome, StoreError>;

    /// Sets an item's key in a ranking, or removes the item. A ranking keeps the
    /// [`MAX_POPULAR`] items with the largest keys.
    ///
    /// # Errors
    /// [`StoreError`]; then it may have been set.
    async fn rank_popularity(
        &self,
        ranking: PopularityRanking,
        item: &ContentId,
        key: Option<f64>,
    ) -> Result<(), StoreError>;

    /// Reads a whole ranking, in no order.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn popularity(
        &self,
        ranking: PopularityRanking,
    ) -> Result<Vec<(ContentId, f64)>, StoreError>;
}
