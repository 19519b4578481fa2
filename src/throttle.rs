//! One log line a second where there would be thousands.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const EVERY: Duration = Duration::from_secs(1);

/// Lets one through a second, and counts the others.
pub struct Throttle {
    last: Mutex<(Option<Instant>, u64)>,
}

impl Default for Throttle {
    fn default() -> Self {
        Self::new()
    }
}

impl Throttle {
    /// One that has held nothing back yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            last: Mutex::new((None, 0)),
        }
    }

    /// Whether it is time again; then, how many were held back since.
    pub fn turn(&self) -> Option<u64> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0.is_some_and(|then| then.elapsed() < EVERY) {
            last.1 += 1;
            return None;
        }
        let held_back = last.1;
        *last = (Some(Instant::now()), 0);
        Some(held_back)
    }
}

#[cfg(test)]
mod tests {
    use super::Throttle;

    #[test]
    fn a_flood_is_told_once_with_its_count() {
        let throttle = Throttle::new();
        assert_eq!(throttle.turn(), Some(0));
        for _ in 0..10 {
            assert_eq!(throttle.turn(), None);
        }
        std::thread::sleep(super::EVERY);
        assert_eq!(throttle.turn(), Some(10));
    }
}
