//! A limit on log lines per second.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const WINDOW: Duration = Duration::from_secs(1);

/// Allows a number of lines per second, and counts the suppressed ones.
pub struct Throttle {
    per_second: u32,
    state: Mutex<ThrottleState>,
}

struct ThrottleState {
    /// Start of the current second.
    started: Option<Instant>,
    /// Lines allowed in it.
    allowed: u32,
    /// Lines suppressed since the last one that was allowed.
    suppressed: u64,
}

impl Default for Throttle {
    fn default() -> Self {
        Self::new()
    }
}

impl Throttle {
    /// Allows one line per second.
    #[must_use]
    pub const fn new() -> Self {
        Self::allowing(1)
    }

    /// Allows `per_second` lines per second.
    #[must_use]
    pub const fn allowing(per_second: u32) -> Self {
        Self {
            per_second,
            state: Mutex::new(ThrottleState {
                started: None,
                allowed: 0,
                suppressed: 0,
            }),
        }
    }

    /// Whether a line may be logged now; if so, how many were suppressed since the last.
    pub fn turn(&self) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state
            .started
            .is_none_or(|started| started.elapsed() >= WINDOW)
        {
            state.started = Some(Instant::now());
            state.allowed = 0;
        }
        if state.allowed >= self.per_second {
            state.suppressed += 1;
            return None;
        }
        state.allowed += 1;
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::Throttle;

    #[test]
    fn a_flood_is_logged_once_with_its_count() {
        let throttle = Throttle::new();
        assert_eq!(throttle.turn(), Some(0));
        for _ in 0..10 {
            assert_eq!(throttle.turn(), None);
        }
        std::thread::sleep(super::WINDOW);
        assert_eq!(throttle.turn(), Some(10));
    }

    #[test]
    fn lines_beyond_the_limit_are_counted() {
        let throttle = Throttle::allowing(3);
        let allowed = (0..3).map(|_| throttle.turn());
        assert_eq!(allowed.collect::<Vec<_>>(), [Some(0); 3]);
        assert_eq!((throttle.turn(), throttle.turn()), (None, None));
        std::thread::sleep(super::WINDOW);
        assert_eq!((throttle.turn(), throttle.turn()), (Some(2), Some(0)));
    }
}
