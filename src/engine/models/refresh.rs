//! Refresh: read the buffer, build the model, save it.
//!
//! In one process, refreshes of one user take turns in a lane. A caller joins
//! the next refresh of the lane, never the one under way: that one may have
//! read the buffer before the caller's append. So however many appends come
//! together, each waits for at most two refreshes, and its event is in the
//! model it gets. The buffer is not read if one of the callers brings it, as
//! new as each of them needs it.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use futures_util::FutureExt as _;
use tokio::sync::watch;
use tracing::Instrument as _;

use crate::{
    blocking,
    domain::{event::EventLog, ids::UserId, signals},
    engine::{Dependency, Engine, EngineError, panicked, tell},
    ports::{BufferSnapshot, Deadline, Rank, SaveOutcome, StoredModel, Version},
    telemetry::{
        meters::{self, ModelBuild, Refresh},
        spans::{self, Cause},
    },
};

/// Events from which on a model takes milliseconds to build.
const LONG_LOG: usize = 1_000;

/// The refreshed model; `None` if the user has no buffer.
pub(in crate::engine) type Refreshed = Result<Option<StoredModel>, EngineError>;

/// One lane for each user with a refresh under way.
#[derive(Default)]
pub(in crate::engine) struct Lanes {
    by_user: Mutex<HashMap<UserId, Lane>>,
}

/// A lane exists while its runner does.
struct Lane {
    /// The refresh that has not begun yet, if anyone waits for one.
    next: Option<Next>,
}

struct Next {
    /// Where those who wait get its outcome.
    done: watch::Sender<Option<Refreshed>>,
    wanted: Wanted,
    /// What those who wait do it for, as far as that is traced.
    causes: Vec<Cause>,
}

/// What a refresh is wanted for.
#[derive(Debug)]
pub(in crate::engine) struct Wanted {
    /// The version that the buffer must have at least.
    pub(in crate::engine) needed: Version,
    /// The newest that is known of the buffer.
    pub(in crate::engine) known: Option<BufferSnapshot>,
    /// A stored model that is to be replaced, however high its version.
    pub(in crate::engine) instead_of: Option<Rank>,
    /// Whether a model without its items' part is better than none.
    pub(in crate::engine) even_incomplete: bool,
    /// When events arrived that it is to have, and how many.
    pub(in crate::engine) arrived: Vec<(Instant, usize)>,
}

impl Wanted {
    /// A buffer of a version at least, to be read.
    pub(in crate::engine) fn at(version: Version) -> Self {
        Self {
            needed: version,
            known: None,
            instead_of: None,
            even_incomplete: true,
            arrived: Vec::new(),
        }
    }

    /// Also what another caller wants.
    fn join(&mut self, other: Self) {
        self.needed = self.needed.max(other.needed);
        let version =
            |known: &Option<BufferSnapshot>| known.as_ref().and_then(|known| known.version);
        if version(&other.known) > version(&self.known) {
            self.known = other.known;
        }
        self.instead_of = other.instead_of.or(self.instead_of);
        self.even_incomplete |= other.even_incomplete;
        self.arrived.extend(other.arrived);
    }

    /// The buffer, if what is known is new enough.
    fn contents(&mut self) -> Option<BufferSnapshot> {
        let needed = self.needed;
        self.known
            .take()
            .filter(|known| known.version >= Some(needed))
    }
}

/// The panic itself has told of itself already.
#[derive(Debug, thiserror::Error)]
#[error("a refresh panicked")]
struct RefreshPanicked;

async fn refreshed(mut done: watch::Receiver<Option<Refreshed>>) -> Refreshed {
    match done.wait_for(Option::is_some).await {
        Ok(refreshed) => refreshed.clone().unwrap_or(Err(EngineError::Panicked)),
        Err(_) => Err(EngineError::Panicked),
    }
}

impl Lanes {
    fn lock(&self) -> MutexGuard<'_, HashMap<UserId, Lane>> {
        // Changed in single steps, so whole even after a panic.
        self.by_user.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the user's next refresh. Returns whether a runner must be started.
    fn join(&self, user: &UserId, wanted: Wanted) -> (watch::Receiver<Option<Refreshed>>, bool) {
        let mut lanes = self.lock();
        let running = lanes.contains_key(user);
        let lane = lanes.entry(user.clone()).or_insert(Lane { next: None });
        if !wanted.arrived.is_empty() {
            meters::model_refresh(match lane.next {
                Some(_) => Refresh::Shared,
                None => Refresh::Own,
            });
        }
        let done = match &mut lane.next {
            Some(next) => {
                next.wanted.join(wanted);
                next.causes.extend(Cause::current());
                next.done.subscribe()
            }
            none => {
                let done = watch::Sender::new(None);
                let subscribed = done.subscribe();
                let causes = Vec::from_iter(Cause::current());
                *none = Some(Next {
                    done,
                    wanted,
                    causes,
                });
                subscribed
            }
        };
        (done, !running)
    }

    /// What is known of a user's buffer is no longer so: it was removed.
    pub(in crate::engine) fn forget(&self, user: &UserId) {
        if let Some(next) = self
            .lock()
            .get_mut(user)
            .and_then(|lane| lane.next.as_mut())
        {
            next.wanted.known = None;
        }
    }

    /// Takes the next refresh out of the lane: nobody joins it any more.
    /// Without one the lane is closed.
    fn begin(&self, user: &UserId) -> Option<Next> {
        let mut lanes = self.lock();
        let next = lanes.get_mut(user).and_then(|lane| lane.next.take());
        if next.is_none() {
            lanes.remove(user);
        }
        next
    }
}

impl Engine {
    /// Refreshes a user's model: from what is known of the buffer, if that is
    /// new enough, or read after this call began. The refresh goes on if the
    /// caller goes away.
    pub(in crate::engine) async fn refresh(&self, user: &UserId, wanted: Wanted) -> Refreshed {
        let (done, start) = self.inner.lanes.join(user, wanted);
        if start {
            self.leave_lane(user, None);
        }
        refreshed(done).await
    }

    /// Likewise, by a caller that runs to its end: it saves a task.
    pub(in crate::engine) async fn refresh_here(&self, user: &UserId, wanted: Wanted) -> Refreshed {
        let (done, start) = self.inner.lanes.join(user, wanted);
        if start && let Some(own) = self.inner.lanes.begin(user) {
            self.run(user, own).await;
            if let Some(of_others) = self.inner.lanes.begin(user) {
                self.leave_lane(user, Some(of_others));
            }
        }
        refreshed(done).await
    }

    /// Leaves a lane to a task, with the refresh that is the next.
    fn leave_lane(&self, user: &UserId, mut next: Option<Next>) {
        let (engine, user) = (self.clone(), user.clone());
        self.inner.tasks.spawn(async move {
            while let Some(now) = next.take().or_else(|| engine.inner.lanes.begin(&user)) {
                engine.run(&user, now).await;
            }
        });
    }

    async fn run(&self, user: &UserId, next: Next) {
        let span = spans::apart("refresh", &next.causes);
        // A panic ends this refresh and not the lane.
        let rebuilt = AssertUnwindSafe(self.rebuild(user, next.wanted)).catch_unwind();
        let refreshed = match rebuilt.instrument(span).await {
            Ok(refreshed) => refreshed,
            Err(_) => Err(panicked(&RefreshPanicked)),
        };
        if refreshed.is_err() {
            meters::model_build(ModelBuild::Failed);
        }
        next.done.send_replace(Some(refreshed));
    }

    async fn rebuild(&self, user: &UserId, mut wanted: Wanted) -> Refreshed {
        let snapshot = match wanted.contents() {
            Some(known) => known,
            None => {
                let read = self.inner.ports.events.read(user).await;
                read.map_err(EngineError::user_state)?
            }
        };
        let Some(version) = snapshot.version else {
            return Ok(None);
        };
        let log = EventLog::new(snapshot.events);
        let needed = signals::items_needed(&log);
        // Shared by callers, so bounded by the store's own time-outs and not by
        // the deadline of one of them.
        let (items, incomplete) = match self.items(&needed, Deadline::NONE).await {
            Ok(items) => (items, false),
            Err(_) if wanted.even_incomplete => (self.cached_items(&needed), true),
            Err(error) => return Err(error),
        };
        let build = || signals::build(user, &log, &items, snapshot.now, &self.inner.config);
        // A user with a very full buffer must not hold up the rest.
        let built = if log.len() > LONG_LOG {
            blocking::in_place(build)
        } else {
            build()
        };
        let model = StoredModel {
            version,
            ranking: Some(self.inner.fingerprint),
            incomplete,
            signals: Arc::new(built),
        };
        let models = &self.inner.ports.models;
        let built = match models.save(user, &model, wanted.instead_of).await {
            Ok(SaveOutcome::Saved) => ModelBuild::Saved,
            Ok(SaveOutcome::Superseded) => ModelBuild::Superseded,
            // The model is right all the same; the next read builds it again.
            Err(error) => {
                tell(Dependency::UserState, &error);
                ModelBuild::NotSaved
            }
        };
        meters::model_build(built);
        // A newer model that is there has these events, too.
        if built != ModelBuild::NotSaved {
            for (arrived, events) in wanted.arrived {
                meters::model_lag(arrived, events);
            }
        }
        Ok(Some(model))
    }
}

#[cfg(test)]
mod tests {
    use super::{Lanes, Wanted};
    use crate::{
        domain::{ids::UserId, time::Timestamp},
        ports::{BufferSnapshot, Version},
    };

    fn wanted(needed: u64, known: Option<u64>) -> Wanted {
        Wanted {
            known: known.map(|version| BufferSnapshot {
                version: Some(Version(version)),
                now: Timestamp::from_micros(0),
                events: Vec::new(),
            }),
            ..Wanted::at(Version(needed))
        }
    }

    /// Which version of the buffer a refresh is made of, if it need not be read.
    fn made_of(mut all: Wanted, others: impl IntoIterator<Item = Wanted>) -> Option<Version> {
        for other in others {
            all.join(other);
        }
        all.contents().and_then(|known| known.version)
    }

    #[test]
    fn callers_who_join_get_the_newest_that_one_of_them_knows() {
        for [first, second] in [[5, 7], [7, 5]] {
            let joined = made_of(wanted(5, Some(first)), [wanted(5, Some(second))]);
            assert_eq!(joined, Some(Version(7)));
        }
        assert_eq!(
            made_of(wanted(5, None), [wanted(5, Some(5))]),
            Some(Version(5))
        );
    }

    #[test]
    fn what_is_older_than_one_of_them_needs_is_read_again() {
        assert_eq!(made_of(wanted(5, Some(5)), [wanted(6, None)]), None);
        assert_eq!(made_of(wanted(6, None), [wanted(5, Some(5))]), None);
        assert_eq!(made_of(wanted(5, Some(4)), []), None);
    }

    #[test]
    fn what_was_known_of_a_removed_buffer_is_not_built_from() {
        let lanes = Lanes::default();
        let user = UserId::parse("u").unwrap();
        for removed in [false, true] {
            let _joined = lanes.join(&user, wanted(5, Some(5)));
            if removed {
                lanes.forget(&user);
            }
            let mut next = lanes.begin(&user).unwrap();
            assert_eq!(next.wanted.contents().is_none(), removed);
            assert!(lanes.begin(&user).is_none());
        }
    }

    #[test]
    fn a_model_without_its_items_will_do_if_it_will_do_for_one() {
        let strict = || Wanted {
            even_incomplete: false,
            ..wanted(5, None)
        };
        for (first, second, either) in [
            (strict(), strict(), false),
            (strict(), wanted(5, None), true),
            (wanted(5, None), strict(), true),
        ] {
            let mut joined = first;
            joined.join(second);
            assert_eq!(joined.even_incomplete, either);
        }
    }
}
