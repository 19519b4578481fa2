//! The slots that a search may return.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

use super::{sample::sample, slot_map::SlotMap};
use crate::domain::{item::CatalogueItem, restriction::Restriction};

type Slots<'a> = &'a [Option<Arc<CatalogueItem>>];

/// Whether a search may return a slot.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Allowed {
    Yes,
    No,
    /// If it passes the filter.
    Perhaps,
}

/// The slots that a search may return. A filter is evaluated only on items that would
/// otherwise be among the results.
pub(super) struct AllowedSlots<'a> {
    slots: Slots<'a>,
    excluded: foldhash::HashSet<u32>,
    conditions: Conditions<'a>,
    /// How many may be allowed, before a filter is evaluated.
    count: usize,
}

enum Conditions<'a> {
    None,
    /// Nothing but a filter: nothing is done for slots on which it is not evaluated.
    Filter {
        restriction: &'a Restriction,
        results: RefCell<SlotMap<bool>>,
    },
    Other {
        restriction: &'a Restriction,
        matching: Vec<Cell<Allowed>>,
    },
}

impl<'a> AllowedSlots<'a> {
    /// All slots that hold items, except for some of them.
    pub(super) fn all_but(slots: Slots<'a>, excluded: foldhash::HashSet<u32>) -> Self {
        Self {
            count: slots.len() - excluded.len(),
            slots,
            excluded,
            conditions: Conditions::None,
        }
    }

    /// The slots that pass the filter of a restriction without other conditions, except for
    /// some.
    pub(super) fn passing(
        slots: Slots<'a>,
        excluded: foldhash::HashSet<u32>,
        restriction: &'a Restriction,
    ) -> Self {
        Self {
            conditions: Conditions::Filter {
                restriction,
                results: RefCell::new(SlotMap::new(slots.len())),
            },
            ..Self::all_but(slots, excluded)
        }
    }

    /// The slots that match a restriction, except for some.
    pub(super) fn matching(
        slots: Slots<'a>,
        mut matching: Vec<Allowed>,
        excluded: foldhash::HashSet<u32>,
        restriction: &'a Restriction,
    ) -> Self {
        for slot in &excluded {
            matching[*slot as usize] = Allowed::No;
        }
        let possible = matching.iter().filter(|allowed| **allowed != Allowed::No);
        Self {
            count: possible.count(),
            slots,
            excluded,
            conditions: Conditions::Other {
                restriction,
                matching: matching.into_iter().map(Cell::new).collect(),
            },
        }
    }

    /// The slots that are excluded whatever they hold.
    pub(super) fn excluded(&self) -> &foldhash::HashSet<u32> {
        &self.excluded
    }

    /// An upper bound of the number of slots.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn contains(&self, slot: u32) -> bool {
        let item = self.slots[slot as usize].as_deref();
        match &self.conditions {
            Conditions::None => item.is_some() && !self.excluded.contains(&slot),
            Conditions::Filter {
                restriction,
                results,
            } => {
                let mut results = results.borrow_mut();
                !self.excluded.contains(&slot)
                    && results.get(slot).unwrap_or_else(|| {
                        let passes = item.is_some_and(|item| restriction.passes_filter(item));
                        results.insert(slot, passes);
                        passes
                    })
            }
            Conditions::Other {
                restriction,
                matching,
            } => {
                let allowed = &matching[slot as usize];
                if allowed.get() == Allowed::Perhaps {
                    let passes = item.is_some_and(|item| restriction.passes_filter(item));
                    allowed.set(if passes { Allowed::Yes } else { Allowed::No });
                }
                allowed.get() == Allowed::Yes
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        let all = 0..self.slots.len() as u32;
        all.filter(|slot| self.contains(*slot))
    }

    /// Up to `count` of the slots: each set of this size is equally likely.
    pub(super) fn sample(&self, count: usize, seed: u64) -> Vec<u32> {
        let if_allowed = |slot: u32| Some(slot).filter(|slot| self.contains(*slot));
        match &self.conditions {
            Conditions::None | Conditions::Filter { .. } => {
                sample(self.slots.len(), count, seed, if_allowed)
            }
            Conditions::Other { matching, .. } => {
                let slots = (0..).zip(matching);
                let possible = slots.filter(|(_, allowed)| allowed.get() != Allowed::No);
                let possible: Vec<u32> = possible.map(|(slot, _)| slot).collect();
                let slot_at = |place: u32| if_allowed(possible[place as usize]);
                sample(possible.len(), count, seed, slot_at)
            }
        }
    }
}
