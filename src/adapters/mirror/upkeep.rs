//! Passes over the collection: the first one fills the mirror, later ones compare it.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use tracing::{info, warn};

use super::{
    items::MirroredItems,
    pass::{PAGE_ITEMS, Pass, PassError},
    state::{CatalogMirror, MirrorPhase},
};
use crate::{
    ports::{StoreError, StoreErrorKind},
    telemetry::meters::{self, MirrorChange},
};

/// A scheduled pass reads this share of the time, so that Qdrant does not notice it; but
/// within half of the time to the next one.
const READING_SHARE: u32 = 10;
/// Pause of an idle upkeep, unless it is woken.
const IDLE: Duration = Duration::from_secs(1);
/// A step after the items were dropped.
const SOON: Duration = Duration::from_millis(100);
/// Delay after the first failure of a pass, which doubles up to a limit.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// Failures of the first fill, while Qdrant answers checks, after which the service is
/// ready without it.
const FAILURES_TO_GO_ON: u32 = 8;
/// Progress of the first fill is logged at this interval.
const LOG_EVERY: Duration = Duration::from_secs(5);
/// Size of an item whose size is not known, in bytes: that of one with nothing but an id.
const LEAST_ITEM_BYTES: usize = 280;
/// A catalogue that did not fit is tried again when this multiple of its size fits.
const ROOM_FOR_RETRY: f64 = 1.1;

/// The pass in progress, and when the next one begins.
pub(super) struct Upkeep {
    pass: Option<RunningPass>,
    failures: u32,
    /// When the next scheduled pass begins; `None` until the first has ended.
    due: Option<Instant>,
    logged: Instant,
    /// Makes intervals differ between processes: 0 to 0.1 are added.
    jitter: f64,
}

struct RunningPass {
    pass: Pass,
    began: Instant,
    /// Whether it fills the mirror.
    fills: bool,
    /// Whether it has pauses.
    paced: bool,
}

/// What a step of the upkeep has done.
#[derive(Debug)]
pub(super) enum UpkeepStep {
    /// It has read something; the next step is due after a pause.
    Read(Duration),
    /// A pass has ended; it has changed this many items.
    Ended(usize),
    /// There is nothing to do for this time.
    Idle(Duration),
    /// Qdrant did not answer; the next step is due after a pause.
    Failed(StoreError, Duration),
}

impl Upkeep {
    pub(super) fn new(jitter: f64) -> Self {
        Self {
            pass: None,
            failures: 0,
            due: None,
            logged: Instant::now(),
            jitter,
        }
    }

    /// Does the next piece of work.
    pub(super) async fn step(&mut self, mirror: &CatalogMirror) -> UpkeepStep {
        if self.pass.is_none() {
            match self.begin(mirror).await {
                Ok(Some(pass)) => self.pass = Some(pass),
                Ok(None) => return UpkeepStep::Idle(IDLE),
                Err(error) => return self.failed(mirror, error),
            }
        }
        let Some(running) = &mut self.pass else {
            return UpkeepStep::Idle(IDLE);
        };
        let began = Instant::now();
        match running.pass.step(&mirror.source).await {
            Ok(true) => {
                self.failures = 0;
                self.log_progress(mirror);
                UpkeepStep::Read(self.pause(mirror, began.elapsed()))
            }
            Ok(false) => {
                self.failures = 0;
                self.end(mirror)
            }
            Err(PassError::Store(error)) => self.failed(mirror, error),
            Err(error) => {
                let items = Arc::clone(&running.pass.items);
                self.pass = None;
                mirror.give_up(&items, &error);
                UpkeepStep::Idle(SOON)
            }
        }
    }

    /// The pass that is due now, if any.
    async fn begin(&self, mirror: &CatalogMirror) -> Result<Option<RunningPass>, StoreError> {
        let comparison = &mirror.comparison;
        let vectors = match mirror.phase() {
            MirrorPhase::Full(items) => {
                let is_due = self.due.is_some_and(|due| due <= Instant::now());
                let wanted = comparison.wanted.swap(false, Ordering::SeqCst);
                if !wanted && !is_due {
                    return Ok(None);
                }
                let vectors = mirror.source.describe_vectors().await;
                let vectors = vectors.inspect_err(|_| {
                    comparison.wanted.fetch_or(wanted, Ordering::SeqCst);
                })?;
                if vectors == items.vectors {
                    return Ok(Some(RunningPass::of(items, false, !wanted)));
                }
                warn!(
                    collection = mirror.source.collection_name(),
                    "collection was recreated with other vectors: mirroring it again"
                );
                mirror.give_up(&items, &PassError::OtherVectors);
                vectors
            }
            MirrorPhase::Empty | MirrorPhase::Filling(_) => {
                mirror.source.describe_vectors().await?
            }
            MirrorPhase::TooLarge { bytes_each } => {
                if !mirror.has_room(bytes_each, ROOM_FOR_RETRY) {
                    return Ok(None);
                }
                mirror.source.describe_vectors().await?
            }
        };
        let items = MirroredItems::new(
            vectors,
            mirror.options.canonicalizer.clone(),
            Arc::clone(&mirror.options.budget),
        );
        let items = Arc::new(items);
        comparison.wanted.store(false, Ordering::SeqCst);
        mirror.set_phase(MirrorPhase::Filling(Arc::clone(&items)));
        if !mirror.has_room(LEAST_ITEM_BYTES, 1.0) {
            mirror.give_up(&items, &PassError::TooLarge);
            return Ok(None);
        }
        Ok(Some(RunningPass::of(items, true, false)))
    }

    fn end(&mut self, mirror: &CatalogMirror) -> UpkeepStep {
        let Some(running) = self.pass.take() else {
            return UpkeepStep::Idle(IDLE);
        };
        let RunningPass {
            pass,
            began,
            fills,
            paced: _,
        } = running;
        *mirror
            .comparison
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(began);
        let every = mirror.options.compare_every;
        self.due = Some(began + every + every.mul_f64(self.jitter));
        let collection = mirror.source.collection_name();
        if fills {
            mirror.fill_ended(&pass.items);
            info!(
                collection,
                items = pass.items.memory.len(),
                bytes = pass.items.memory.bytes(),
                duration_s = began.elapsed().as_secs_f64(),
                "catalogue is mirrored"
            );
        } else {
            meters::mirror_changes(MirrorChange::Compared, pass.changed);
            if pass.changed > 0 {
                info!(
                    collection,
                    changed = pass.changed,
                    "catalogue mirror follows changes that were not announced"
                );
            }
        }
        UpkeepStep::Ended(pass.changed)
    }

    fn failed(&mut self, mirror: &CatalogMirror, error: StoreError) -> UpkeepStep {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FAILURES_TO_GO_ON && mirror.contact.answers.load(Ordering::SeqCst) {
            let error = &error as &dyn std::error::Error;
            if !mirror.contact.was_ready.swap(true, Ordering::SeqCst) {
                warn!(
                    error,
                    "catalogue cannot be mirrored yet: qdrant is searched"
                );
            } else if self.failures == FAILURES_TO_GO_ON {
                warn!(
                    error,
                    "catalogue mirror cannot be compared with qdrant: changes of other programs \
                     are not seen"
                );
            }
        }
        if error.kind() == StoreErrorKind::Unprepared {
            // There is no collection: the next one is another.
            let running = self.pass.take();
            if let Some(running) = running {
                if running.fills {
                    mirror.give_up(&running.pass.items, &PassError::OtherVectors);
                } else {
                    mirror.comparison.wanted.store(true, Ordering::SeqCst);
                }
            }
        }
        let doublings = self.failures.saturating_sub(1).min(16);
        let backoff = FIRST_BACKOFF * 2_u32.pow(doublings);
        UpkeepStep::Failed(error, backoff.min(MAX_BACKOFF))
    }

    /// The pause after a step that took some time.
    fn pause(&self, mirror: &CatalogMirror, took: Duration) -> Duration {
        let is_paced = self.pass.as_ref().is_some_and(|running| running.paced);
        if !is_paced || mirror.comparison.wanted.load(Ordering::SeqCst) {
            return Duration::ZERO;
        }
        let steps = mirror.source.points_count() / u64::from(PAGE_ITEMS) + 1;
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        let longest = mirror.options.compare_every / 2 / steps;
        (took * (READING_SHARE - 1)).min(longest)
    }

    fn log_progress(&mut self, mirror: &CatalogMirror) {
        let Some(running) = self.pass.as_ref().filter(|running| running.fills) else {
            return;
        };
        if self.logged.elapsed() < LOG_EVERY {
            return;
        }
        self.logged = Instant::now();
        info!(
            collection = mirror.source.collection_name(),
            items = running.pass.items.memory.len(),
            of = mirror.source.points_count(),
            "mirroring the catalogue"
        );
    }
}

impl RunningPass {
    fn of(items: Arc<MirroredItems>, fills: bool, paced: bool) -> Self {
        Self {
            pass: Pass::over(items),
            began: Instant::now(),
            fills,
            paced,
        }
    }
}

impl CatalogMirror {
    /// Fills the mirror, or compares it with Qdrant, now and without pauses. Returns how
    /// many items that has added, replaced or removed. Must not run beside
    /// [`CatalogMirror::start`].
    ///
    /// # Errors
    /// [`StoreError`] if Qdrant does not answer; then the mirror is as it was, or partly
    /// compared.
    pub async fn refresh(&self) -> Result<usize, StoreError> {
        let mut upkeep = Upkeep::new(0.0);
        self.comparison.wanted.store(true, Ordering::SeqCst);
        loop {
            match upkeep.step(self).await {
                UpkeepStep::Read(_) => {}
                UpkeepStep::Ended(changed) => return Ok(changed),
                UpkeepStep::Idle(_) if matches!(self.phase(), MirrorPhase::TooLarge { .. }) => {
                    return Ok(0);
                }
                UpkeepStep::Idle(_) => {
                    // Another call has begun the comparison that this one wanted.
                    self.comparison.wanted.store(true, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                }
                UpkeepStep::Failed(error, _) => return Err(error),
            }
        }
    }

    /// Whether `share` times the collection's items fit, at this size.
    fn has_room(&self, bytes_each: usize, share: f64) -> bool {
        let items = self.source.points_count() as f64 * share;
        let budget = &self.options.budget;
        budget.has_room_for(items as usize, bytes_each.max(LEAST_ITEM_BYTES))
    }

    fn fill_ended(&self, items: &Arc<MirroredItems>) {
        let mut phase = self.phase.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(&*phase, MirrorPhase::Filling(held) if Arc::ptr_eq(held, items)) {
            *phase = MirrorPhase::Full(Arc::clone(items));
            self.contact.was_ready.store(true, Ordering::SeqCst);
            // Reads come from the mirror from now on.
            self.source.clear_cache();
        }
    }
}
