//! The caller of an operation that runs to completion.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::clock::Deadline;

/// Whether somebody still waits for the result of an operation.
#[derive(Clone, Debug)]
pub struct WaitingCaller {
    deadline: Deadline,
    gone: Arc<AtomicBool>,
}

/// Held by the call. Dropping it marks the caller as gone.
#[derive(Debug)]
pub struct CallGuard(Arc<AtomicBool>);

impl Drop for CallGuard {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl WaitingCaller {
    /// A caller that waits until its deadline, or until the guard is dropped.
    #[must_use]
    pub fn new(deadline: Deadline) -> (Self, CallGuard) {
        let gone = Arc::new(AtomicBool::new(false));
        let guard = CallGuard(Arc::clone(&gone));
        (Self { deadline, gone }, guard)
    }

    /// A caller that waits for as long as it takes.
    #[must_use]
    pub fn without_deadline() -> Self {
        Self {
            deadline: Deadline::NONE,
            gone: Arc::default(),
        }
    }

    /// Whether it still waits.
    #[must_use]
    pub fn still_waits(&self) -> bool {
        !self.gone.load(Ordering::Relaxed) && !self.deadline.remaining().is_zero()
    }

    /// When it stops waiting.
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        self.deadline
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::WaitingCaller;
    use crate::ports::Deadline;

    #[test]
    fn a_caller_waits_until_its_deadline_or_until_it_goes_away() {
        assert!(WaitingCaller::without_deadline().still_waits());
        let (caller, guard) = WaitingCaller::new(Deadline::NONE);
        assert!(caller.still_waits());
        drop(guard);
        assert!(!caller.still_waits());
        let (late, _guard) = WaitingCaller::new(Deadline::at(Instant::now()));
        assert!(!late.still_waits());
    }
}
