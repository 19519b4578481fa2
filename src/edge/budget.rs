//! Calls in flight and buffered bytes of the process, with their limits.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use metrics::Gauge;

use crate::{
    domain::ids::TenantId,
    edge::refusal::Refusal,
    telemetry::meters::{self, Shed},
};

/// Counts calls in flight and buffered bytes against their limits.
pub(crate) struct Load {
    max_calls: usize,
    max_bytes: usize,
    calls: AtomicUsize,
    bytes: AtomicUsize,
    /// The shares of the tenants that have called, which the tenants file limits.
    shares: Mutex<HashMap<TenantId, Arc<Share>>>,
    calls_gauge: Gauge,
    bytes_gauge: Gauge,
}

/// The bytes that some of the callers hold together. A tenant may hold as many bytes as
/// are free: one alone at most half of all, two a third each. So no tenant takes all.
///
/// Source: dynamic queue length thresholds (Choudhury and Hahne, 1998), with factor 1.
#[derive(Default)]
pub(crate) struct Share {
    bytes: AtomicUsize,
    /// A fixed limit instead: 1 of this number of all bytes.
    part: Option<usize>,
}

impl Share {
    /// The bytes that are held.
    pub(crate) fn held(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// At most 1 of `part` of all bytes.
    pub(crate) fn part(part: usize) -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            part: Some(part),
        }
    }
}

impl Load {
    /// At most `max_calls` in flight, and `max_bytes` of messages on their way in
    /// or out.
    pub(crate) fn new(max_calls: usize, max_bytes: usize) -> Arc<Self> {
        let (calls_gauge, bytes_gauge) = (meters::calls_in_flight(), meters::buffered_bytes());
        Arc::new(Self {
            calls_gauge,
            bytes_gauge,
            ..Self::unmetered(max_calls, max_bytes)
        })
    }

    /// As [`Load::new`], without metrics.
    pub(crate) fn unmetered(max_calls: usize, max_bytes: usize) -> Self {
        Self {
            max_calls,
            max_bytes,
            calls: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            shares: Mutex::default(),
            calls_gauge: Gauge::noop(),
            bytes_gauge: Gauge::noop(),
        }
    }

    /// Which limit is reached, if any.
    pub(crate) fn full(&self) -> Option<Shed> {
        if self.calls.load(Ordering::Relaxed) >= self.max_calls {
            Some(Shed::Calls)
        } else if self.bytes.load(Ordering::Relaxed) >= self.max_bytes {
            Some(Shed::Bytes)
        } else {
            None
        }
    }

    /// Adds a call in flight.
    ///
    /// # Errors
    /// [`Shed::Calls`] if there are too many; then none is added.
    pub(crate) fn start_call(&self) -> Result<(), Shed> {
        if self.calls.fetch_add(1, Ordering::Relaxed) >= self.max_calls {
            self.calls.fetch_sub(1, Ordering::Relaxed);
            return Err(Shed::Calls);
        }
        self.calls_gauge.increment(1.0);
        Ok(())
    }

    pub(crate) fn end_call(&self) {
        self.calls.fetch_sub(1, Ordering::Relaxed);
        self.calls_gauge.decrement(1.0);
    }

    /// Adds bytes that are buffered already. They count until they are released.
    ///
    /// # Errors
    /// [`Shed::Bytes`] if there are too many; these are counted all the same.
    pub(crate) fn hold(&self, share: Option<&Share>, bytes: usize) -> Result<(), Shed> {
        let total = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.bytes_gauge.increment(bytes as f64);
        let held = share.map(|share| share.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes);
        if self.fits(total, share, held) {
            Ok(())
        } else {
            Err(Shed::Bytes)
        }
    }

    /// Adds bytes that are not allocated yet. They count until they are released.
    ///
    /// # Errors
    /// [`Shed::Bytes`] if there are too many; then none is counted.
    pub(crate) fn reserve(&self, share: Option<&Share>, bytes: usize) -> Result<(), Shed> {
        let held = share.map(|share| share.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes);
        let reserved = self
            .bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |total| {
                let total = total.checked_add(bytes)?;
                self.fits(total, share, held).then_some(total)
            });
        if reserved.is_ok() {
            self.bytes_gauge.increment(bytes as f64);
            return Ok(());
        }
        if let Some(share) = share {
            share.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        Err(Shed::Bytes)
    }

    pub(crate) fn release(&self, share: Option<&Share>, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.bytes_gauge.decrement(bytes as f64);
        if let Some(share) = share {
            share.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// Whether `total` buffered bytes, of which a share holds `held`, are within the
    /// limits.
    fn fits(&self, total: usize, share: Option<&Share>, held: Option<usize>) -> bool {
        let Some(free) = self.max_bytes.checked_sub(total) else {
            return false;
        };
        match (share, held) {
            (Some(share), Some(held)) => match share.part {
                Some(part) => held <= self.max_bytes / part,
                None => held <= free,
            },
            _ => true,
        }
    }

    /// Most bytes that one call can ever reserve.
    pub(crate) fn max_reservation(&self, share: Option<&Share>) -> usize {
        match share {
            None => self.max_bytes,
            Some(share) => self.max_bytes / share.part.unwrap_or(2),
        }
    }

    /// The share of a tenant.
    pub(crate) fn share(&self, tenant: &TenantId) -> Arc<Share> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(tenant) {
            return Arc::clone(share);
        }
        let share = Arc::new(Share::default());
        shares.insert(tenant.clone(), Arc::clone(&share));
        share
    }
}

/// Counts a call that is shed.
pub(crate) fn overloaded(limit: Shed) -> Refusal {
    meters::shed(limit);
    Refusal::Overloaded(limit)
}

#[cfg(test)]
mod tests {
    use super::{Load, Share};
    use crate::{domain::ids::TenantId, telemetry::meters::Shed};

    #[test]
    fn calls_in_flight_are_limited() {
        let load = Load::unmetered(2, 100);
        assert_eq!(load.start_call(), Ok(()));
        assert_eq!(load.full(), None);
        assert_eq!(load.start_call(), Ok(()));
        for _ in 0..3 {
            assert_eq!(load.full(), Some(Shed::Calls));
            assert_eq!(load.start_call(), Err(Shed::Calls), "is not counted");
        }
        load.end_call();
        assert_eq!(load.full(), None);
        assert_eq!(load.start_call(), Ok(()));
    }

    #[test]
    fn buffered_bytes_are_limited() {
        let load = Load::unmetered(2, 100);
        assert_eq!(load.hold(None, 60), Ok(()));
        assert_eq!(load.full(), None);
        assert_eq!(load.hold(None, 40), Ok(()));
        assert_eq!(load.full(), Some(Shed::Bytes));
        // Counts until it is released, refused or not.
        assert_eq!(load.hold(None, 1), Err(Shed::Bytes));
        load.release(None, 41);
        assert_eq!(load.full(), None);
        assert_eq!(load.hold(None, 41), Err(Shed::Bytes));
        load.release(None, 41);
        assert_eq!(load.hold(None, 40), Ok(()));
    }

    #[test]
    fn a_reservation_that_does_not_fit_counts_nothing() {
        let load = Load::unmetered(2, 100);
        assert_eq!(load.reserve(None, 101), Err(Shed::Bytes));
        assert_eq!(load.reserve(None, usize::MAX), Err(Shed::Bytes));
        assert_eq!(load.reserve(None, 100), Ok(()));
        assert_eq!(load.reserve(None, 1), Err(Shed::Bytes));
        load.release(None, 100);
        assert_eq!(load.full(), None);
    }

    #[test]
    fn no_tenant_takes_the_bytes_of_another() {
        let load = Load::unmetered(2, 90);
        let tenant = |name: &str| load.share(&TenantId::parse(name).unwrap());
        let (a, b) = (tenant("a"), tenant("b"));
        let most = |share: &Share| {
            let mut held = 0;
            while load.reserve(Some(share), 1).is_ok() {
                held += 1;
            }
            held
        };
        assert_eq!(most(&a), 45, "half of all");
        assert_eq!(most(&b), 22, "half of the rest");
        assert_eq!(load.hold(Some(&a), 1), Err(Shed::Bytes));
        load.release(Some(&a), 46);
        // The share is the same in each call of the tenant.
        assert_eq!(load.hold(Some(&tenant("b")), 10), Ok(()));
        assert_eq!(most(&b), 13);
        let part = Share::part(9);
        assert_eq!(most(&part), 10);
    }
}
