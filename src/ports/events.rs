//! The event buffers.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;

use super::error::StoreError;
use crate::domain::{event::StoredEvent, ids::UserId, time::Timestamp};

/// The version of a user's buffer: its expiry time in milliseconds since the
/// epoch. Each append raises it to the larger of itself plus 1 and the store's
/// time plus the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64);

/// Events of one id are the same event if their times are this close.
pub const EVENT_ID_SPAN: Duration = Duration::from_secs(600);
/// How long an erased user's marker stays.
pub const ERASED_FOR: Duration = Duration::from_secs(60);

/// What became of one appended event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// Stored.
    Accepted,
    /// The buffer has it already; the first copy is kept.
    Duplicate,
    /// Older than the window, or older than all of a full buffer. Not stored.
    OutsideWindow,
}

/// What an append did.
#[derive(Clone, Debug)]
pub struct Appended {
    /// One for each event, in the order given.
    pub outcomes: Vec<AppendOutcome>,
    /// How many events in the window the buffer holds now.
    pub buffered_events: usize,
    /// The buffer's version now; `None` if the user has none.
    pub version: Option<Version>,
    /// The buffer as this append left it, if events were accepted and the
    /// store knows it without reading. Equal to what a read would have found.
    pub contents: Option<BufferSnapshot>,
}

/// What a removal did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// Whether there was a buffer.
    pub existed: bool,
    /// At least as high as any version the buffer can have had, also if an
    /// earlier removal failed only in its answer.
    pub floor: Version,
}

/// A user's buffer as it was at one moment.
#[derive(Clone, Debug)]
pub struct BufferSnapshot {
    /// Its version; `None` if the user has no buffer. Events appended under
    /// this version or a lower one are among `events`; later ones may be.
    pub version: Option<Version>,
    /// The store's time when it was read.
    pub now: Timestamp,
    /// The events in the window, in any order.
    pub events: Vec<Arc<StoredEvent>>,
}

/// The event buffers, one a user.
///
/// * The store's clock, never the caller's, decides what the window is.
/// * Events older than the window are never returned, stored or not.
/// * At most the newest `max_events` are kept, by (time, member bytes).
/// * A buffer goes away by itself once no append came for a window.
/// * Users are told apart by their exact ids.
#[async_trait]
pub trait EventBuffer: Send + Sync {
    /// Stores events of one user in one step that is seen whole or not at all,
    /// and prunes, if any is accepted. An event whose member is stored already, or whose
    /// `event_id` was stored within 10 minutes of its time (earlier in the
    /// same call included), is a duplicate. When it returns, the accepted
    /// events are as durable as the store is. An append that accepts nothing
    /// leaves the version as it is.
    ///
    /// # Errors
    /// [`StoreError`]; then the events may or may not have been stored, and
    /// appending them again does no harm.
    async fn append(&self, user: &UserId, events: &[StoredEvent]) -> Result<Appended, StoreError>;

    /// Reads a user's buffer, its version first.
    ///
    /// # Errors
    /// [`StoreError`]. One unreadable event is no error: it is left out.
    async fn read(&self, user: &UserId) -> Result<BufferSnapshot, StoreError>;

    /// Reads all that is stored of a user, as text: each event in its stored
    /// form, oldest first, ties by bytes. Unlike [`EventBuffer::read`], events
    /// that are unreadable or older than the window come, too, for as long as
    /// they are stored. Bytes that are not UTF-8 are replaced by U+FFFD.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn stored(&self, user: &UserId) -> Result<Vec<String>, StoreError>;

    /// Reads the version alone; `None` if the user has no buffer.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn version(&self, user: &UserId) -> Result<Option<Version>, StoreError>;

    /// Removes a user's buffer.
    ///
    /// # Errors
    /// [`StoreError`]; then the buffer may or may not be gone.
    async fn delete(&self, user: &UserId) -> Result<Deleted, StoreError>;

    /// The store's time. All processes that share a store go by it, whatever
    /// their own clocks say.
    ///
    /// # Errors
    /// [`StoreError`] if the store has not told it yet and does not answer.
    async fn now(&self) -> Result<Timestamp, StoreError>;

    /// Asks whether the store answers, and can be written to.
    ///
    /// # Errors
    /// [`StoreError`] if not.
    async fn check(&self) -> Result<(), StoreError>;
}
