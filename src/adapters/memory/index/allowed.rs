//! The slots that a search may return.

use std::{cell::Cell, sync::Arc};

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
    /// `None` if there are no conditions: then nothing is done for each slot.
    conditions: Option<Conditions<'a>>,
    /// How many may be allowed, before a filter is evaluated.
    count: usize,
}

struct Conditions<'a> {
    matching: Vec<Cell<Allowed>>,
    restriction: &'a Restriction,
}

impl<'a> AllowedSlots<'a> {
    /// All slots that hold items, except for some of them.
    pub(super) fn all_but(slots: Slots<'a>, excluded: foldhash::HashSet<u32>) -> Self {
        Self {
            count: slots.len() - excluded.len(),
            slots,
            excluded,
            conditions: None,
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
            conditions: Some(Conditions {
                matching: matching.into_iter().map(Cell::new).collect(),
                restriction,
            }),
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
        let item = &self.slots[slot as usize];
        let Some(conditions) = &self.conditions else {
            return item.is_some() && !self.excluded.contains(&slot);
        };
        let allowed = &conditions.matching[slot as usize];
        if allowed.get() == Allowed::Perhaps {
            let passes = item
                .as_ref()
                .is_some_and(|item| conditions.restriction.passes_filter(item));
            allowed.set(if passes { Allowed::Yes } else { Allowed::No });
        }
        allowed.get() == Allowed::Yes
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.candidates().filter(|slot| self.contains(*slot))
    }

    /// The slots whose items may pass the filter.
    pub(super) fn candidates(&self) -> impl Iterator<Item = u32> {
        let slots = (0..).zip(self.slots).map(|(slot, _)| slot);
        slots.filter(|slot| match &self.conditions {
            Some(conditions) => conditions.matching[*slot as usize].get() != Allowed::No,
            None => self.contains(*slot),
        })
    }
}
