//! The event buffers.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{caller::WaitingCaller, error::StoreError};
use crate::domain::{event::StoredEvent, ids::UserId, time::Timestamp};

/// The version of a user's buffer: its expiry time in milliseconds since the
/// epoch. Each append raises it to the larger of the old one plus 1 and the store's
/// time plus the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64);

/// Events with the same id are the same event if their times are this close.
pub const EVENT_ID_SPAN: Duration = Duration::from_secs(600);
/// Lifetime of an erased user's markers.
pub const ERASED_FOR: Duration = Duration::from_secs(60);
/// A write is refused if its data was read longer ago by the store's clock. It is
/// half of [`ERASED_FOR`]: a write from before an erasure arrives while the
/// erasure's markers exist, or not at all.
pub const MAX_WRITE_AGE: Duration = Duration::from_secs(30);

/// The result of appending one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// Stored.
    Accepted,
    /// The buffer already has it; the first copy is kept.
    Duplicate,
    /// Older than the window, or older than all events of a full buffer. Not
    /// stored.
    OutsideWindow,
}

/// The result of an append.
#[derive(Clone, Debug)]
pub struct Appended {
    /// One for each event, in the given order.
    pub outcomes: Vec<AppendOutcome>,
    /// Number of events in the buffer that are in the window.
    pub buffered_events: usize,
    /// The buffer's version after the append; `None` if the user has no buffer.
    pub version: Option<Version>,
    /// The store's time of the append.
    pub now: Timestamp,
}

/// An erasure that has read what it is about to remove.
#[derive(Clone, Copy, Debug)]
pub struct ErasureStart {
    /// The store's time before the read.
    pub read_at: Timestamp,
    /// Whether the buffer had events.
    pub existed: bool,
}

/// An erasure of a user's buffer. Its markers hold the same time and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// Whether the buffer had events.
    pub existed: bool,
    /// Above all versions that the buffer has had.
    pub version: Version,
    /// The store's time of the erasure. Writes whose data was read before are
    /// refused while the markers exist.
    pub at: Timestamp,
}

/// A buffer's version, as of a moment.
#[derive(Clone, Copy, Debug)]
pub struct ObservedVersion {
    /// The version; `None` if the user has no buffer.
    pub version: Option<Version>,
    /// The store's time before the version was read.
    pub observed_at: Timestamp,
}

/// A buffer's version and size, as of a moment. They identify its events: other
/// programs may add events without a new version.
#[derive(Clone, Copy, Debug)]
pub struct ObservedBuffer {
    /// The version; `None` if there are no events.
    pub version: Option<Version>,
    /// The number of its events.
    pub events: usize,
    /// The store's time before either was read.
    pub observed_at: Timestamp,
}

impl ObservedBuffer {
    /// Whether the events of both are the same.
    #[must_use]
    pub fn has_events_of(&self, other: &Self) -> bool {
        (self.version, self.events) == (other.version, other.events)
    }
}

/// A user's buffer at one moment.
#[derive(Clone, Debug)]
pub struct BufferSnapshot {
    /// Its version; `None` if the user has no buffer. `events` has every event
    /// appended up to this version, and may have later ones.
    pub version: Option<Version>,
    /// The store's time of the read.
    pub now: Timestamp,
    /// A time of the store before the version was read or confirmed. Writes of what
    /// is derived from the events carry it.
    pub read_at: Timestamp,
    /// The events in the window, in any order.
    pub events: Vec<Arc<StoredEvent>>,
}

/// Most events of a page of stored events.
pub const PAGE_EVENTS: usize = 32;

/// Where a page of stored events begins: after those before `seconds`, and after the
/// first `skipped` of those at it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PageStart {
    /// Seconds since the epoch.
    pub seconds: f64,
    /// A number of events.
    pub skipped: usize,
}

impl PageStart {
    /// The start of a buffer.
    pub const FIRST: Self = Self {
        seconds: f64::NEG_INFINITY,
        skipped: 0,
    };

    /// The start of the page after one that began here, from the times of its events.
    #[must_use]
    pub fn after(self, times: &[f64]) -> Self {
        let Some(&seconds) = times.last() else {
            return self;
        };
        let same = times.iter().rev().take_while(|time| **time == seconds);
        let before = if self.seconds == seconds {
            self.skipped
        } else {
            0
        };
        Self {
            seconds,
            skipped: before + same.count(),
        }
    }
}

/// An event in its stored form.
#[derive(Clone, Debug)]
pub struct StoredText {
    /// The stored form.
    pub text: String,
    /// The event, if it can be read and is in the window.
    pub event: Option<Arc<StoredEvent>>,
}

/// Some stored events of a user.
#[derive(Clone, Debug)]
pub struct StoredPage {
    /// The events, oldest first.
    pub events: Vec<StoredText>,
    /// Where the next page begins; `None` if this is the last.
    pub next: Option<PageStart>,
}

/// The event buffers, one per user.
///
/// * The window follows the store's clock, never the caller's.
/// * Events older than the window are never returned, even if they are stored.
/// * At most the newest `max_events` are kept, by (time, member bytes).
/// * A buffer expires one window after its last append.
/// * Users with different ids have different buffers, whatever their ids contain.
#[async_trait]
pub trait EventBuffer: Send + Sync {
    /// Atomically stores events of one user and, if any is accepted, prunes the
    /// buffer. An event is a duplicate if its member is stored already, or if its
    /// `event_id` was stored within 10 minutes of its time; earlier events of the
    /// same call count. On return, accepted events are as durable as the store is.
    /// An append that accepts nothing does not change the version.
    ///
    /// An append that arrives more than [`MAX_WRITE_AGE`] late, or after an erasure
    /// that followed its sending, stores nothing. It is sent once more if the caller
    /// still waits.
    ///
    /// # Errors
    /// [`StoreError`]; then the events may have been stored, and it is safe to
    /// append them again.
    async fn append(
        &self,
        user: &UserId,
        events: &[StoredEvent],
        caller: &WaitingCaller,
    ) -> Result<Appended, StoreError>;

    /// The user's buffer at exactly the version that was just observed, if the store
    /// knows it without reading. Equal to the result of a read.
    fn known(&self, user: &UserId, observed: &ObservedVersion) -> Option<BufferSnapshot> {
        let _ = (user, observed);
        None
    }

    /// Whether [`EventBuffer::known`] has it.
    fn knows(&self, user: &UserId, observed: &ObservedVersion) -> bool {
        self.known(user, observed).is_some()
    }

    /// Reads a user's buffer: first the version, then the events.
    ///
    /// # Errors
    /// [`StoreError`]. Unreadable events are left out and are not an error.
    async fn read(&self, user: &UserId) -> Result<BufferSnapshot, StoreError>;

    /// Reads all stored events of a user in their stored form, oldest first, ties
    /// by bytes. Unlike [`EventBuffer::read`], it includes events that are
    /// unreadable or older than the window. Bytes that are not UTF-8 are replaced
    /// by U+FFFD.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn stored(&self, user: &UserId) -> Result<Vec<String>, StoreError>;

    /// Reads at most [`PAGE_EVENTS`] of the events of [`EventBuffer::stored`], from a
    /// start: [`PageStart::FIRST`], then the `next` of each page. An event that is stored
    /// from the first page to the last is in exactly one.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn stored_page(&self, user: &UserId, start: PageStart) -> Result<StoredPage, StoreError>;

    /// Reads the version only. For [`ERASED_FOR`] after an erasure, a user without
    /// events may have one, which is not above the erasure's.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn version(&self, user: &UserId) -> Result<ObservedVersion, StoreError>;

    /// The first read of an erasure.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn begin_erasure(&self, user: &UserId) -> Result<ErasureStart, StoreError>;

    /// Removes a user's events and leaves a marker without data for [`ERASED_FOR`].
    /// The erasure's version is above that of the buffer and above `floor`; later
    /// appends take a higher one. `None` if it is refused, because `read_at` is
    /// longer ago than [`MAX_WRITE_AGE`] or before another erasure: then begin
    /// again.
    ///
    /// # Errors
    /// [`StoreError`]; then the events may have been removed.
    async fn erase(
        &self,
        user: &UserId,
        read_at: Timestamp,
        floor: Version,
    ) -> Result<Option<Erasure>, StoreError>;

    /// Reads the version and the number of events.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn observe(&self, user: &UserId) -> Result<ObservedBuffer, StoreError>;

    /// Removes a user's events, which were copied to another user, if they are still
    /// those that were observed. Leaves a marker for [`ERASED_FOR`] with the returned
    /// version, which is above that of the buffer and above `floor`; later appends take
    /// a higher one. Unlike an erasure's it has no time of its own and refuses no
    /// append; the time of an earlier erasure stays. `None` if nothing is removed: there
    /// are other events, or `copied` was observed longer ago than [`MAX_WRITE_AGE`] or
    /// before an erasure.
    ///
    /// # Errors
    /// [`StoreError`]; then the events may have been removed.
    async fn remove_copied(
        &self,
        user: &UserId,
        copied: &ObservedBuffer,
        floor: Version,
    ) -> Result<Option<Version>, StoreError>;

    /// The store's time. All processes that share a store use it instead of their
    /// own clocks.
    ///
    /// # Errors
    /// [`StoreError`] if it is not known yet and the store does not answer.
    async fn now(&self) -> Result<Timestamp, StoreError>;

    /// Identifies the stored events: the same text as long as they are kept, for every
    /// process that shares them; another one after the store has lost all of them.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read or written.
    async fn data_id(&self) -> Result<String, StoreError>;

    /// Checks that the store answers and accepts writes.
    ///
    /// # Errors
    /// [`StoreError`] if it does not.
    async fn check(&self) -> Result<(), StoreError>;
}
