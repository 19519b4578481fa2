//! Refreshing due rows: in the background within a budget, or all at once.

use std::{
    pin::{Pin, pin},
    sync::{Arc, Weak, atomic::Ordering},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::state::{AssociationState, failed};
use crate::{engine::error::EngineError, ports::StoreError, telemetry::meters};

/// The smallest share of a core: pauses stay finite.
const MIN_CPU: f64 = 0.001;
/// Rounds of [`AssociationState::refresh_all`]: a refreshed audience may make further
/// rows due.
const MAX_ROUNDS: usize = 3;

impl AssociationState {
    /// Starts the refreshing task, if it is not running.
    pub(super) fn start(self: &Arc<Self>) {
        if self.settings.background && !self.is_started.swap(true, Ordering::Relaxed) {
            let (wake, interval) = (Arc::clone(&self.wake), self.settings.interval);
            tokio::spawn(run(Arc::downgrade(self), wake, interval));
        }
    }

    /// Refreshes all due rows, without a budget. Returns how many.
    pub(super) async fn refresh_all(&self) -> Result<usize, EngineError> {
        let mut refreshed = 0;
        for _ in 0..MAX_ROUNDS {
            self.items.forget_sizes();
            let now = self.now().await.map_err(failed)?;
            let due = self.due(now, false).await.map_err(failed)?;
            if due.is_empty() {
                break;
            }
            for item in &due {
                self.refresh_if_due(item).await.map_err(failed)?;
            }
            refreshed += due.len();
        }
        if refreshed > 0 {
            self.popularity.touch(None);
        }
        Ok(refreshed)
    }

    /// Refreshes due rows until the end of the interval, within the budget.
    async fn refresh_until(&self, end: Instant, only_forced: bool) -> Result<(), StoreError> {
        let now = self.now().await?;
        if !only_forced {
            self.items.forget_sizes();
            self.rows.sweep(now);
            self.written.sweep(now);
        }
        let due = self.due(now, only_forced).await?;
        let mut left = due.len();
        for item in &due {
            if !only_forced {
                meters::rows_due(left);
            }
            if Instant::now() >= end {
                break;
            }
            let (refreshed, busy) = Timed::new(self.refresh_if_due(item)).await;
            refreshed?;
            left -= 1;
            let pause = busy.mul_f64(1.0 / self.settings.cpu.clamp(MIN_CPU, 1.0) - 1.0);
            tokio::time::sleep(pause).await;
        }
        if !only_forced {
            meters::rows_due(left);
        }
        Ok(())
    }
}

/// Refreshes due rows in every interval, and missing ones when they are missed, until
/// the engine is dropped.
async fn run(state: Weak<AssociationState>, wake: Arc<tokio::sync::Notify>, interval: Duration) {
    let mut next = Instant::now() + interval;
    loop {
        let only_forced = tokio::select! {
            () = tokio::time::sleep_until(next.into()) => false,
            () = wake.notified() => true,
        };
        let Some(state) = state.upgrade() else {
            return;
        };
        if !only_forced {
            next = Instant::now() + interval;
        }
        if let Err(error) = state.refresh_until(next, only_forced).await {
            let _ = failed(error);
        }
    }
}

/// Measures the time that a future is polled for: the work that it does itself.
struct Timed<F> {
    future: Pin<Box<F>>,
    busy: Duration,
}

impl<F: Future> Timed<F> {
    fn new(future: F) -> Self {
        Self {
            future: Box::pin(future),
            busy: Duration::ZERO,
        }
    }
}

impl<F: Future> Future for Timed<F> {
    type Output = (F::Output, Duration);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let begin = Instant::now();
        let polled = pin!(&mut self.future).poll(context);
        self.busy += begin.elapsed();
        polled.map(|output| (output, self.busy))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Timed;

    #[tokio::test]
    async fn waiting_is_not_work() {
        let pause = Duration::from_millis(300);
        let begin = std::time::Instant::now();
        let ((), busy) = Timed::new(tokio::time::sleep(pause)).await;
        assert!(busy + pause <= begin.elapsed());
        let works = async { std::thread::sleep(Duration::from_millis(5)) };
        let ((), busy) = Timed::new(works).await;
        assert!(busy >= Duration::from_millis(5));
    }
}
