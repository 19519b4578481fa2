//! What a mirror holds, and whether it is current.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::items::MirroredItems;
use crate::{
    adapters::{
        memory::CatalogueBudget,
        qdrant::QdrantItemStore,
        redis::{ChangeCursor, ItemChanges},
    },
    domain::{ids::ContentId, tags::Canonicalizer},
    ports::{ItemStore as _, StoreError},
    telemetry::throttle::Throttle,
};

/// How a catalogue is mirrored.
#[derive(Clone)]
pub struct MirrorOptions {
    /// The limits of all mirrors of the process.
    pub budget: Arc<CatalogueBudget>,
    /// The canonical form of tags.
    pub canonicalizer: Canonicalizer,
    /// Time between two comparisons with Qdrant.
    pub compare_every: Duration,
}

/// A catalogue in Qdrant with a mirror in memory.
pub struct CatalogMirror {
    pub(super) source: Arc<QdrantItemStore>,
    /// Announces changes to other processes, and reads theirs.
    pub(super) changes: Option<ItemChanges>,
    pub(super) options: MirrorOptions,
    pub(super) phase: RwLock<MirrorPhase>,
    pub(super) contact: Contact,
    pub(super) pending: Mutex<ChangeBacklog>,
    pub(super) following: tokio::sync::Mutex<Following>,
    pub(super) comparison: ComparisonSchedule,
    /// Throttles the log of lists that are made without Qdrant.
    pub(super) outage: Throttle,
}

/// How far a mirror is.
#[derive(Clone)]
pub(super) enum MirrorPhase {
    /// Nothing is read yet.
    Empty,
    /// Its items are being read for the first time.
    Filling(Arc<MirroredItems>),
    /// It has all items.
    Full(Arc<MirroredItems>),
    /// The items do not fit. `bytes_each` is their average size, as far as known.
    TooLarge { bytes_each: usize },
}

/// Whether Qdrant answers, and whether all known changes were read from it.
pub(super) struct Contact {
    pub(super) answers: AtomicBool,
    pub(super) reread_failed: AtomicBool,
    checked: Mutex<Option<Instant>>,
    /// Whether the mirror has ever been full, too large, or given up for the time being:
    /// the service is ready from then on.
    pub(super) was_ready: AtomicBool,
}

/// What could not be done at once.
#[derive(Default)]
pub(super) struct ChangeBacklog {
    /// Items to read again.
    pub(super) dirty: HashSet<ContentId>,
    /// Items to announce.
    pub(super) unannounced: HashSet<ContentId>,
    /// Whether to announce that any item may have changed.
    pub(super) all_unannounced: bool,
}

/// How far the stream of changes was read.
#[derive(Default)]
pub(super) struct Following {
    /// The last entry that was read; `None` until the stream was marked.
    pub(super) cursor: Option<ChangeCursor>,
    /// Whether the last read of the stream failed.
    pub(super) lost: bool,
}

/// When to compare the mirror with Qdrant.
pub(super) struct ComparisonSchedule {
    /// Whether a change may have been missed.
    pub(super) wanted: AtomicBool,
    /// Notified if there may be something to do at once.
    pub(super) wake: Arc<Notify>,
    /// When the last complete pass began.
    pub(super) last: Mutex<Option<Instant>>,
}

impl CatalogMirror {
    /// An empty mirror of a store. Without a stream, changes by other processes are seen at
    /// the next comparison.
    #[must_use]
    pub fn new(
        source: Arc<QdrantItemStore>,
        changes: Option<ItemChanges>,
        options: MirrorOptions,
    ) -> Self {
        Self {
            source,
            changes,
            options,
            phase: RwLock::new(MirrorPhase::Empty),
            contact: Contact {
                answers: AtomicBool::new(true),
                reread_failed: AtomicBool::new(false),
                checked: Mutex::default(),
                was_ready: AtomicBool::new(false),
            },
            pending: Mutex::default(),
            following: tokio::sync::Mutex::default(),
            comparison: ComparisonSchedule {
                wanted: AtomicBool::new(false),
                wake: Arc::default(),
                last: Mutex::default(),
            },
            outage: Throttle::new(),
        }
    }

    /// Whether reads are answered from memory.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.full().is_some()
    }

    pub(super) fn phase(&self) -> MirrorPhase {
        let phase = self.phase.read().unwrap_or_else(PoisonError::into_inner);
        phase.clone()
    }

    pub(super) fn set_phase(&self, phase: MirrorPhase) {
        *self.phase.write().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    pub(super) fn full(&self) -> Option<Arc<MirroredItems>> {
        match &*self.phase.read().unwrap_or_else(PoisonError::into_inner) {
            MirrorPhase::Full(items) => Some(Arc::clone(items)),
            MirrorPhase::Empty | MirrorPhase::Filling(_) | MirrorPhase::TooLarge { .. } => None,
        }
    }

    /// The items to which reads are applied.
    pub(super) fn items(&self) -> Option<Arc<MirroredItems>> {
        match &*self.phase.read().unwrap_or_else(PoisonError::into_inner) {
            MirrorPhase::Filling(items) | MirrorPhase::Full(items) => Some(Arc::clone(items)),
            MirrorPhase::Empty | MirrorPhase::TooLarge { .. } => None,
        }
    }

    /// Requests a comparison with Qdrant, without pauses.
    pub(super) fn want_comparison(&self) {
        self.comparison.wanted.store(true, Ordering::SeqCst);
        self.comparison.wake.notify_one();
    }

    /// Whether the mirror is as current as Qdrant and the stream let it be.
    pub(super) fn is_current(&self) -> bool {
        self.contact.answers.load(Ordering::SeqCst)
            && !self.contact.reread_failed.load(Ordering::SeqCst)
    }

    /// Checks Qdrant, unless it was checked within `age`.
    pub(super) async fn check_if_older_than(&self, age: Duration) {
        let checked = *self
            .contact
            .checked
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if checked.is_none_or(|checked| checked.elapsed() >= age) {
            let _ = self.check_source().await;
        }
    }

    /// Checks Qdrant. After an outage, everything is compared.
    pub(super) async fn check_source(&self) -> Result<(), StoreError> {
        let checked = self.source.check().await;
        *self
            .contact
            .checked
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        let answered = self.contact.answers.swap(checked.is_ok(), Ordering::SeqCst);
        if checked.is_ok() && !answered {
            self.comparison.wake.notify_one();
        }
        if checked.is_ok()
            && let Some(items) = self.items()
        {
            let is_other = self.source.vector_shape().as_ref() != Some(&items.vectors);
            let is_emptied = self.source.points_count() == 0 && !items.memory.is_empty();
            // Changes during an outage may have been missed.
            if !answered || is_other || is_emptied {
                self.want_comparison();
            }
        }
        checked
    }
}
