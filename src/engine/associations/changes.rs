//! The changes of audiences that this process has counted, and the rows that are due
//! for other reasons.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use foldhash::fast::RandomState;

use crate::domain::{ids::ContentId, time::Timestamp};

/// Items whose changes are counted at most. The rows of the others become due by age.
const MAX_ITEMS: usize = 200_000;
/// Times at which the changes of an item are counted apart.
const MAX_TIMES: usize = 8;
/// A change may have been written a little after the time that it is counted at: a
/// process's estimate of the store's time is never later than the truth.
const CLOCK_SLACK: Duration = Duration::from_secs(1);

/// What is pending for an item's row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PendingChanges {
    /// Counts of changes with the time of the latest, in ascending order.
    counts: Vec<(Timestamp, usize)>,
    /// The earliest and the latest time at which the row is due whatever changed. A
    /// refresh at the latest makes one between them superfluous.
    due_at: Option<(Timestamp, Timestamp)>,
    /// When the row was first found to be due.
    pub(super) due_since: Option<Timestamp>,
}

impl PendingChanges {
    /// The number of changes.
    pub(super) fn count(&self) -> usize {
        self.counts.iter().map(|(_, count)| count).sum()
    }

    /// Whether the row is due whatever changed.
    pub(super) fn is_forced(&self, now: Timestamp) -> bool {
        self.due_at.is_some_and(|(earliest, _)| earliest <= now)
    }

    fn add(&mut self, count: usize, now: Timestamp) {
        match self.counts.last_mut() {
            Some((last, counted)) if *last >= now || now < last.plus(CLOCK_SLACK) => {
                *last = (*last).max(now);
                *counted += count;
            }
            Some(_) | None => self.counts.push((now, count)),
        }
        if self.counts.len() > MAX_TIMES {
            let (_, oldest) = self.counts.remove(0);
            if let Some((_, counted)) = self.counts.first_mut() {
                *counted += oldest;
            }
        }
    }

    fn force(&mut self, at: Timestamp) {
        let (earliest, latest) = self.due_at.unwrap_or((at, at));
        self.due_at = Some((earliest.min(at), latest.max(at)));
    }

    /// Adds what was counted before a refresh that failed.
    fn merge(&mut self, earlier: Self) {
        let mut counts = earlier.counts;
        counts.append(&mut self.counts);
        counts.sort_unstable();
        self.counts.clear();
        for (time, count) in counts {
            self.add(count, time);
        }
        for at in earlier.due_at.into_iter().flat_map(|(a, b)| [a, b]) {
            self.force(at);
        }
        self.due_since = earlier.due_since.or(self.due_since);
    }

    /// Drops what a row built at this time contains.
    pub(super) fn drop_before(&mut self, built_at: Timestamp) {
        let contains = |time: Timestamp| time.plus(CLOCK_SLACK) < built_at;
        self.counts.retain(|(time, _)| !contains(*time));
        self.due_at = self.due_at.and_then(|(earliest, latest)| {
            if latest <= built_at {
                None
            } else if earliest <= built_at {
                Some((latest, latest))
            } else {
                Some((earliest, latest))
            }
        });
    }

    /// What remains after a refresh that began at this time: the times at which the
    /// row is due later.
    fn after_refresh(&self, began_at: Timestamp) -> Self {
        let latest = self.due_at.map(|(_, latest)| latest);
        Self {
            due_at: latest.filter(|at| *at > began_at).map(|at| (at, at)),
            ..Self::default()
        }
    }

    fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.due_at.is_none()
    }
}

/// What is pending, by item.
#[derive(Default)]
pub(super) struct Changes(Mutex<HashMap<ContentId, PendingChanges, RandomState>>);

impl Changes {
    fn lock(&self) -> MutexGuard<'_, HashMap<ContentId, PendingChanges, RandomState>> {
        // Changes are single steps, so a panic leaves it consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, item: &ContentId, update: impl FnOnce(&mut PendingChanges)) {
        let mut items = self.lock();
        if let Some(pending) = items.get_mut(item) {
            update(pending);
        } else if items.len() < MAX_ITEMS {
            update(items.entry(item.clone()).or_default());
        }
    }

    /// Counts a change to an item's audience.
    pub(super) fn count(&self, item: &ContentId, now: Timestamp) {
        self.update(item, |pending| pending.add(1, now));
    }

    /// Makes a row due at a time, whatever changed.
    pub(super) fn force(&self, item: &ContentId, at: Timestamp) {
        self.update(item, |pending| pending.force(at));
    }

    /// Everything that is pending.
    pub(super) fn all(&self) -> Vec<(ContentId, PendingChanges)> {
        let items = self.lock();
        let pending = items.iter();
        pending
            .map(|(item, pending)| (item.clone(), pending.clone()))
            .collect()
    }

    /// Notes since when a row is due.
    pub(super) fn set_due(&self, item: &ContentId, since: Timestamp) {
        if let Some(pending) = self.lock().get_mut(item) {
            pending.due_since.get_or_insert(since);
        }
    }

    /// Takes what is pending for a row that is refreshed from this time on. What is
    /// due later stays.
    pub(super) fn take(&self, item: &ContentId, now: Timestamp) -> PendingChanges {
        let mut items = self.lock();
        let Some(pending) = items.remove(item) else {
            return PendingChanges::default();
        };
        let later = pending.after_refresh(now);
        if !later.is_empty() {
            items.insert(item.clone(), later);
        }
        pending
    }

    /// Puts back what was taken, because the row was not refreshed.
    pub(super) fn put_back(&self, item: &ContentId, taken: PendingChanges) {
        if !taken.is_empty() {
            self.update(item, |pending| pending.merge(taken));
        }
    }

    /// The number of items with something pending.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Changes, MAX_TIMES, PendingChanges, Timestamp};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn changes_that_a_row_contains_are_dropped() {
        let mut pending = PendingChanges::default();
        pending.add(2, at(10));
        pending.add(3, at(20));
        pending.drop_before(at(11));
        assert_eq!(pending.count(), 5, "within the slack of the clocks");
        pending.drop_before(at(12));
        assert_eq!(pending.count(), 3);
        pending.drop_before(at(22));
        assert!(pending.is_empty());
    }

    #[test]
    fn counts_are_bounded_and_none_is_lost() {
        let mut pending = PendingChanges::default();
        for second in 0..100 {
            pending.add(1, at(3 * second));
        }
        assert_eq!((pending.counts.len(), pending.count()), (MAX_TIMES, 100));
        // A merged count has the time of its latest change.
        pending.drop_before(at(3 * 90));
        assert_eq!(pending.count(), 100);
    }

    #[test]
    fn a_row_that_is_due_again_later_stays_due() {
        let changes = Changes::default();
        let item = "i".into();
        changes.force(&item, at(61));
        changes.force(&item, at(90));
        let pending = |changes: &Changes| changes.all().remove(0).1;
        assert!(!pending(&changes).is_forced(at(60)) && pending(&changes).is_forced(at(61)));
        let taken = changes.take(&item, at(70));
        assert!(taken.is_forced(at(70)));
        assert!(!pending(&changes).is_forced(at(89)) && pending(&changes).is_forced(at(90)));
        changes.take(&item, at(90));
        assert_eq!(changes.len(), 0);
    }

    #[test]
    fn what_a_failed_refresh_took_is_pending_again() {
        let changes = Changes::default();
        let item = "i".into();
        changes.count(&item, at(1));
        changes.force(&item, at(5));
        let taken = changes.take(&item, at(10));
        changes.count(&item, at(1).plus(Duration::from_secs(30)));
        changes.put_back(&item, taken);
        let pending = changes.take(&item, at(40));
        assert_eq!(pending.count(), 2);
        assert!(pending.is_forced(at(5)));
    }
}
