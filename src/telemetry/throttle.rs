//! A few log lines a second where there would be thousands.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

const EVERY: Duration = Duration::from_secs(1);

/// Lets a few through a second, and counts the others.
pub struct Throttle {
    most: u32,
    turns: Mutex<Turns>,
}

struct Turns {
    /// When the second began.
    began: Option<Instant>,
    /// How many were let through in it.
    let_through: u32,
    held_back: u64,
}

impl Default for Throttle {
    fn default() -> Self {
        Self::new()
    }
}

impl Throttle {
    /// One that lets one through a second, and has held nothing back yet.
    #[must_use]
    pub const fn new() -> Self {
        Self::allowing(1)
    }

    /// Likewise, one that lets so many through.
    #[must_use]
    pub const fn allowing(most: u32) -> Self {
        Self {
            most,
            turns: Mutex::new(Turns {
                began: None,
                let_through: 0,
                held_back: 0,
            }),
        }
    }

    /// Whether it is time again; then, how many were held back since.
    pub fn turn(&self) -> Option<u64> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.began.is_none_or(|began| began.elapsed() >= EVERY) {
            turns.began = Some(Instant::now());
            turns.let_through = 0;
        }
        if turns.let_through >= self.most {
            turns.held_back += 1;
            return None;
        }
        turns.let_through += 1;
        Some(std::mem::take(&mut turns.held_back))
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

    #[test]
    fn as_many_as_allowed_are_told_and_the_others_counted() {
        let throttle = Throttle::allowing(3);
        let told = (0..3).map(|_| throttle.turn());
        assert_eq!(told.collect::<Vec<_>>(), [Some(0); 3]);
        assert_eq!((throttle.turn(), throttle.turn()), (None, None));
        std::thread::sleep(super::EVERY);
        assert_eq!((throttle.turn(), throttle.turn()), (Some(2), Some(0)));
    }
}
