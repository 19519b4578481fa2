//! Which events were counted already.

use std::{
    collections::HashSet,
    mem,
    sync::{Mutex, PoisonError},
};

/// Keys in one of the two generations: 2 MiB.
const GENERATION: usize = 1 << 17;

/// A set of the latest keys, at least `GENERATION` of them.
#[derive(Default)]
pub(super) struct CountedKeys(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    newer: HashSet<u64>,
    older: HashSet<u64>,
}

impl CountedKeys {
    /// Adds a key; whether it was not there.
    pub(super) fn add(&self, key: u64) -> bool {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.newer.contains(&key) || keys.older.contains(&key) {
            return false;
        }
        if keys.newer.len() >= GENERATION {
            keys.older = mem::take(&mut keys.newer);
        }
        keys.newer.insert(key)
    }
}

#[cfg(test)]
mod tests {
    use super::{CountedKeys, GENERATION};

    #[test]
    fn a_key_is_new_once_while_it_is_among_the_latest() {
        let keys = CountedKeys::default();
        let latest = GENERATION as u64;
        assert!((0..=latest).all(|key| keys.add(key)));
        assert!((0..=latest).all(|key| !keys.add(key)));
        assert!((latest + 1..=2 * latest).all(|key| keys.add(key)));
        assert!(keys.add(0), "the oldest ones are dropped");
        assert!(!keys.add(2 * latest));
    }
}
