//! When which fault was in force.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use super::faults::Fault;

/// How long after a fault calls may still fail for it. What is under way at
/// its end has a command's 500 ms, a connection's 500 ms or Qdrant's 2 s left to
/// wait, and so has a call that comes later and joins it: 2 s, and one more for
/// the machine.
pub const RECOVERY: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug)]
struct Window {
    fault: Fault,
    began: Instant,
    ended: Option<Instant>,
}

impl Window {
    /// Whether it, or the recovery from it, was in force in this time.
    fn touches(&self, from: Instant) -> bool {
        self.ended.is_none_or(|ended| ended + RECOVERY >= from)
    }
}

#[derive(Default)]
pub struct Weather(Mutex<Vec<Window>>);

impl Weather {
    pub fn begin(&self, fault: Fault) {
        self.0.lock().unwrap().push(Window {
            fault,
            began: Instant::now(),
            ended: None,
        });
    }

    pub fn end(&self) {
        if let Some(window) = self.0.lock().unwrap().last_mut() {
            window.ended = Some(Instant::now());
        }
    }

    /// Whether no fault touched what began then and ends now.
    pub fn was_calm_since(&self, begun: Instant) -> bool {
        !self
            .0
            .lock()
            .unwrap()
            .last()
            .is_some_and(|last| last.touches(begun))
    }

    /// The faults that touched what began then and ends now, the latest first,
    /// and how long ago each ended.
    pub fn since(&self, begun: Instant) -> Vec<(Fault, Duration)> {
        let windows = self.0.lock().unwrap();
        windows
            .iter()
            .rev()
            .take_while(|window| window.touches(begun))
            .map(|window| {
                let ago = window.ended.map(|ended| ended.elapsed());
                (window.fault, ago.unwrap_or_default())
            })
            .collect()
    }

    /// The names of the faults that began in this time.
    pub fn names(&self, from: Instant, to: Instant) -> Vec<&'static str> {
        let windows = self.0.lock().unwrap();
        let within = windows
            .iter()
            .filter(|window| window.began >= from && window.began < to);
        within.map(|window| window.fault.name()).collect()
    }

    pub fn count(&self, fault: Fault) -> usize {
        let windows = self.0.lock().unwrap();
        windows
            .iter()
            .filter(|window| window.fault == fault)
            .count()
    }
}
