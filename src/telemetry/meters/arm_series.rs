//! The series of one placement with one variant.

use std::sync::OnceLock;

use metrics::{Counter, counter};

use super::{
    handles::is_enabled,
    names::{PLACEMENT_EVENTS, PLACEMENT_ITEMS},
};

/// The series of one placement with one variant, and `N` meanings. Their names come from
/// the ranking file, which bounds their number.
pub struct ArmSeries<const N: usize> {
    placement: String,
    variant: String,
    meanings: [&'static str; N],
    items: OnceLock<Counter>,
    events: [OnceLock<Counter>; N],
}

impl<const N: usize> ArmSeries<N> {
    /// The series of these names.
    #[must_use]
    pub fn new(placement: &str, variant: &str, meanings: [&'static str; N]) -> Self {
        Self {
            placement: placement.to_owned(),
            variant: variant.to_owned(),
            meanings,
            items: OnceLock::new(),
            events: [const { OnceLock::new() }; N],
        }
    }

    /// Starts all at 0.
    pub fn start(&self) {
        self.count_items(0);
        for index in 0..N {
            self.add_events(index, 0);
        }
    }

    /// Counts items of a list.
    pub fn count_items(&self, items: usize) {
        if is_enabled() {
            let look_up = || {
                counter!(
                    PLACEMENT_ITEMS,
                    "placement" => self.placement.clone(),
                    "variant" => self.variant.clone(),
                )
            };
            self.items.get_or_init(look_up).increment(items as u64);
        }
    }

    /// Counts an event with the meaning at `index`.
    pub fn count_event(&self, index: usize) {
        self.add_events(index, 1);
    }

    fn add_events(&self, index: usize, count: u64) {
        let series = self.events.get(index).zip(self.meanings.get(index));
        if let (true, Some((series, meaning))) = (is_enabled(), series) {
            let look_up = || {
                counter!(
                    PLACEMENT_EVENTS,
                    "placement" => self.placement.clone(),
                    "variant" => self.variant.clone(),
                    "meaning" => *meaning,
                )
            };
            series.get_or_init(look_up).increment(count);
        }
    }
}
