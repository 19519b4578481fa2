//! Calls in flight and buffered bytes of the process, with their limits.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use metrics::Gauge;

use crate::{
    edge::refusal::Refusal,
    telemetry::meters::{self, Shed},
};

/// Counts calls in flight and buffered bytes against their limits.
pub(crate) struct Load {
    max_calls: usize,
    max_bytes: usize,
    calls: AtomicUsize,
    bytes: AtomicUsize,
    calls_gauge: Gauge,
    bytes_gauge: Gauge,
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

    /// Adds buffered bytes, which count until they are released.
    ///
    /// # Errors
    /// [`Shed::Bytes`] if there are too many; these are counted all the same.
    pub(crate) fn hold(&self, bytes: usize) -> Result<(), Shed> {
        self.bytes_gauge.increment(bytes as f64);
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > self.max_bytes {
            return Err(Shed::Bytes);
        }
        Ok(())
    }

    pub(crate) fn release(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.bytes_gauge.decrement(bytes as f64);
    }
}

/// Counts a call that is shed.
pub(crate) fn overloaded(limit: Shed) -> Refusal {
    meters::shed(limit);
    Refusal::Overloaded(limit)
}

#[cfg(test)]
mod tests {
    use super::Load;
    use crate::telemetry::meters::Shed;

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
        assert_eq!(load.hold(60), Ok(()));
        assert_eq!(load.full(), None);
        assert_eq!(load.hold(40), Ok(()));
        assert_eq!(load.full(), Some(Shed::Bytes));
        // Counts until it is released, refused or not.
        assert_eq!(load.hold(1), Err(Shed::Bytes));
        load.release(41);
        assert_eq!(load.full(), None);
        assert_eq!(load.hold(41), Err(Shed::Bytes));
        load.release(41);
        assert_eq!(load.hold(40), Ok(()));
    }
}
