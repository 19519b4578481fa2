//! Values of some slots.

use foldhash::HashMap;

/// An array of all slots is faster than a hash table from a value for one in this many on.
const MANY_FROM: usize = 16;

/// Values of some of the slots below a number. Making an empty one takes no time for each
/// slot.
pub(super) struct SlotMap<T> {
    slots: usize,
    values: Values<T>,
}

enum Values<T> {
    Few(HashMap<u32, T>),
    Many(Vec<Option<T>>),
}

impl<T: Copy> SlotMap<T> {
    /// Without values.
    pub(super) fn new(slots: usize) -> Self {
        Self {
            slots,
            values: Values::Few(HashMap::default()),
        }
    }

    pub(super) fn get(&self, slot: u32) -> Option<T> {
        match &self.values {
            Values::Few(values) => values.get(&slot).copied(),
            Values::Many(values) => values[slot as usize],
        }
    }

    /// Returns the value before.
    pub(super) fn insert(&mut self, slot: u32, value: T) -> Option<T> {
        match &mut self.values {
            Values::Few(values) if values.len() < self.slots / MANY_FROM => {
                values.insert(slot, value)
            }
            Values::Few(values) => {
                let mut all = vec![None; self.slots];
                for (slot, value) in values {
                    all[*slot as usize] = Some(*value);
                }
                let before = all[slot as usize].replace(value);
                self.values = Values::Many(all);
                before
            }
            Values::Many(values) => values[slot as usize].replace(value),
        }
    }

    pub(super) fn remove(&mut self, slot: u32) -> Option<T> {
        match &mut self.values {
            Values::Few(values) => values.remove(&slot),
            Values::Many(values) => values[slot as usize].take(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::SlotMap;

    proptest! {
        #[test]
        fn it_holds_what_a_hash_table_holds(
            slots in 1_usize..80,
            steps in prop::collection::vec((any::<prop::sample::Index>(), any::<Option<u8>>()), 0..120),
        ) {
            let mut map = SlotMap::new(slots);
            let mut expected = HashMap::new();
            for (slot, value) in steps {
                let slot = slot.index(slots) as u32;
                prop_assert_eq!(map.get(slot), expected.get(&slot).copied());
                match value {
                    Some(value) => {
                        prop_assert_eq!(map.insert(slot, value), expected.insert(slot, value));
                    }
                    None => prop_assert_eq!(map.remove(slot), expected.remove(&slot)),
                }
            }
        }
    }
}
