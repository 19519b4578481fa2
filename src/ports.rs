//! What the engine needs from the outside: the traits, their contracts, and
//! the one error type of this layer. The contract suites in `tests/it` check
//! every implementation against the text here.

use std::{
    collections::HashSet,
    error::Error,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;

use crate::domain::{
    event::StoredEvent,
    geo::GeoPoint,
    ids::{ContentId, UserId},
    item::{CatalogueItem, Item},
    restriction::Restriction,
    tags::TagKey,
    time::Timestamp,
    user_signals::UserSignals,
    vector::UnitVector,
};

/// What kind of failure a store reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// It cannot be reached, or does not answer in time. Trying again helps.
    Unavailable,
    /// The settings that lead to it are wrong, such as its key or port. Trying
    /// again does not help until they are mended.
    Misconfigured,
    /// It is full. Trying again helps once there is room.
    Full,
    /// It holds something that it should not, or answered nonsense.
    Corrupt,
    /// It is not set up as it must be: the error's text says what to mend, and
    /// may be told to clients.
    Unprepared,
}

impl StoreErrorKind {
    /// How many there are.
    pub const COUNT: usize = Self::Unprepared as usize + 1;

    /// Its name in metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Misconfigured => "misconfigured",
            Self::Full => "full",
            Self::Corrupt => "corrupt",
            Self::Unprepared => "unprepared",
        }
    }
}

/// A store could not do what it was asked.
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    context: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl StoreError {
    /// An error of a kind, with what was being done.
    #[must_use]
    pub fn new(kind: StoreErrorKind, context: impl Into<String>) -> Self {
        Self {
            kind,
            context: context.into(),
            source: None,
        }
    }

    /// With the error that caused it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.context)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn Error + 'static))
    }
}

/// By when an answer is of use to whoever waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerBy(Option<Instant>);

impl AnswerBy {
    /// However long the store's own time-outs allow.
    pub const WHENEVER: Self = Self(None);

    /// By this moment.
    #[must_use]
    pub fn at(moment: Instant) -> Self {
        Self(Some(moment))
    }

    /// How much time is left: 0 once the moment has passed.
    #[must_use]
    pub fn left(self) -> Duration {
        self.0.map_or(Duration::MAX, |moment| {
            moment.saturating_duration_since(Instant::now())
        })
    }
}

/// The time, and only the time.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// Random numbers.
pub trait Randomness: Send + Sync {
    /// 64 uniform random bits.
    fn next_u64(&self) -> u64;
}

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

/// A user model with what is needed to tell whether it is current.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredModel {
    /// The version of the buffer that it was built from.
    pub version: Version,
    /// Fingerprint of the ranking file that it was built under; `None` if
    /// another program built it.
    pub ranking: Option<u64>,
    /// Whether it lacks what its items would have told, as they could not be
    /// read: then it is built again by the next reading.
    pub incomplete: bool,
    /// The model.
    pub signals: Arc<UserSignals>,
}

/// What orders the models of a user: version, then time of building.
pub type Rank = (Version, Option<Timestamp>);

impl StoredModel {
    /// Its place among the user's models.
    #[must_use]
    pub fn rank(&self) -> Rank {
        (self.version, self.signals.built_at)
    }
}

/// What is at a user's place in the model store.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelSlot {
    /// Nothing.
    Missing,
    /// Something that is no model: as good as nothing.
    Unreadable,
    /// The user was erased a moment ago.
    Erased,
    /// A model.
    Present(StoredModel),
}

/// Whether a save took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveOutcome {
    /// The model is stored.
    Saved,
    /// What is there is as new or newer, or the user was erased; it stays.
    Superseded,
}

/// The user models, one a user, each with a time to live.
#[async_trait]
pub trait ModelStore: Send + Sync {
    /// Reads what is there.
    ///
    /// # Errors
    /// [`StoreError`]. An unreadable model is `Unreadable`, not an error.
    async fn load(&self, user: &UserId) -> Result<ModelSlot, StoreError>;

    /// Reads a model as the text that is stored, readable or not; bytes that
    /// are not UTF-8 are replaced by U+FFFD. `None` if there is none, if the
    /// user was erased, or if the store keeps models in no written form: then
    /// [`ModelStore::load`] tells all that it holds.
    ///
    /// # Errors
    /// [`StoreError`].
    async fn stored(&self, user: &UserId) -> Result<Option<String>, StoreError>;

    /// Saves a model if its (version, built_at) is higher than that of what is
    /// there, or if what is there is still exactly `instead_of`; and starts its
    /// time to live anew.
    ///
    /// # Errors
    /// [`StoreError`]; then it may or may not have been saved.
    async fn save(
        &self,
        user: &UserId,
        model: &StoredModel,
        instead_of: Option<Rank>,
    ) -> Result<SaveOutcome, StoreError>;

    /// Removes a model and leaves, for [`ERASED_FOR`], a marker without data
    /// whose version is above that of the model and above `floor`, so that no
    /// save under way can bring the user back. Returns whether there was a
    /// model.
    ///
    /// # Errors
    /// [`StoreError`]; then the model may or may not be gone.
    async fn erase(&self, user: &UserId, floor: Version) -> Result<bool, StoreError>;
}

/// In which order a search proposes items. Ties go to the bytewise smaller id.
#[derive(Clone, Debug, PartialEq)]
pub enum SearchOrder {
    /// By cosine to a vector, largest first. Items without a vector of this
    /// size are left out.
    NearestTo(UnitVector),
    /// By cosine to a vector, smallest first; likewise.
    FarthestFrom(UnitVector),
    /// By `Σ weight · item weight` over these tags, largest first. Items whose
    /// sum is 0 are left out.
    TagOverlap(Vec<(TagKey, f64)>),
    /// By distance from a point to the item's nearest place. Items without a
    /// place are left out.
    ClosestTo(GeoPoint),
    /// A uniform random sample.
    Sample {
        /// Chooses the sample.
        seed: u64,
        /// Whether the same seed on the same items must give the same sample
        /// in the same order. Otherwise any sample will do, which some stores
        /// draw more cheaply.
        pinned: bool,
    },
}

/// One search for candidates.
#[derive(Clone, Debug)]
pub struct Search<'a> {
    /// What comes first.
    pub order: SearchOrder,
    /// What may come at all.
    pub restriction: &'a Restriction,
    /// Items that must not come.
    pub exclude: &'a HashSet<ContentId>,
    /// Further ones, too many to be told in a query: a store takes them out of
    /// what it found, before it reads any contents.
    pub exclude_afterwards: &'a HashSet<ContentId>,
    /// How many at the most.
    pub limit: usize,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// The items, in the search's order, each once.
    Items(Vec<Arc<CatalogueItem>>),
    /// The store lacks the index that this search needs.
    NoIndex,
    /// The store does not answer, or not in time; these are what this process
    /// still has of it, in the search's order.
    Remembered(Vec<Arc<CatalogueItem>>),
}

/// Why an item was not stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ItemRefusal {
    /// Its vector is not as long as the catalogue's others.
    #[error("vector has {given} numbers, those of {catalogue} have {expected}")]
    VectorSize {
        /// Which catalogue, for people.
        catalogue: String,
        /// Numbers in the catalogue's vectors.
        expected: usize,
        /// Numbers in the item's.
        given: usize,
    },
    /// The catalogue is full.
    #[error("the catalogue is full")]
    Full,
}

/// The catalogue.
///
/// A write is seen by every later call to the same store. Vectors are kept
/// L2-normalised and are all of one size: the store's own, or that of the first.
///
/// Reads end by the time that they are given: a store that asks another
/// process waits no longer than that, nor than its own time-outs allow.
#[async_trait]
pub trait ItemStore: Send + Sync {
    /// Runs searches as one batch; one result each, in order.
    ///
    /// # Errors
    /// [`StoreError`] if items cannot be read at all, or not in time.
    async fn search(
        &self,
        searches: &[Search<'_>],
        answer_by: AnswerBy,
    ) -> Result<Vec<Found>, StoreError>;

    /// Reads items by id; one result each, in order, `None` where there is
    /// no such item.
    ///
    /// # Errors
    /// [`StoreError`] if any of them cannot be read, or not in time.
    async fn get(
        &self,
        ids: &[ContentId],
        answer_by: AnswerBy,
    ) -> Result<Vec<Option<Arc<CatalogueItem>>>, StoreError>;

    /// What this process has of items without asking anyone, however old; one
    /// for each id, in order. For when [`ItemStore::get`] fails.
    fn remembered(&self, ids: &[ContentId]) -> Vec<Option<Arc<CatalogueItem>>>;

    /// Adds or replaces items, in order; one result each. Attributes that an
    /// item does not name are kept.
    ///
    /// # Errors
    /// [`StoreError`]; then any of them may have been stored.
    async fn upsert(&self, items: Vec<Item>) -> Result<Vec<Result<(), ItemRefusal>>, StoreError>;

    /// Removes items; for each, whether there was one.
    ///
    /// # Errors
    /// [`StoreError`]; then any of them may be gone.
    async fn delete(&self, ids: &[ContentId]) -> Result<Vec<bool>, StoreError>;

    /// Asks whether the store answers.
    ///
    /// # Errors
    /// [`StoreError`] if it does not.
    async fn check(&self) -> Result<(), StoreError>;

    /// How many numbers the vectors have; `None` while that is not known.
    fn vector_size(&self) -> Option<usize>;
}
