//! The smallest values in an order, without sorting the others.

use std::cmp::Ordering;

/// Keeps the `limit` smallest of the values that it is offered.
pub(super) struct TopK<T, O> {
    limit: usize,
    order: O,
    values: Vec<T>,
    /// The largest of `limit` values offered so far. Larger ones are ignored.
    bound: Option<T>,
}

impl<T: Copy, O: Fn(&T, &T) -> Ordering> TopK<T, O> {
    pub(super) fn new(limit: usize, order: O) -> Self {
        Self {
            limit,
            order,
            values: Vec::new(),
            bound: None,
        }
    }

    /// An upper bound of the result: larger values are not among the smallest.
    /// `None` until enough values were offered.
    pub(super) fn bound(&self) -> Option<T> {
        self.bound
    }

    pub(super) fn offer(&mut self, value: T) {
        if self.limit == 0
            || self
                .bound
                .is_some_and(|bound| (self.order)(&value, &bound).is_gt())
        {
            return;
        }
        self.values.push(value);
        // At twice the limit, so that each value pays for a constant share of
        // the cut.
        if self.values.len() >= self.limit.saturating_mul(2) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        if self.limit == 0 || self.values.len() < self.limit {
            return;
        }
        let last = self.limit - 1;
        self.values.select_nth_unstable_by(last, &self.order);
        self.values.truncate(self.limit);
        self.bound = self.values.last().copied();
    }

    /// The largest of the `limit` smallest values; `None` if fewer were offered.
    pub(super) fn last(mut self) -> Option<T> {
        self.cut();
        self.bound
    }

    /// The smallest values, in order.
    pub(super) fn sorted(mut self) -> Vec<T> {
        self.cut();
        self.values.sort_unstable_by(&self.order);
        self.values
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::TopK;

    proptest! {
        #[test]
        fn the_smallest_values_are_those_of_a_sort(
            values in prop::collection::vec(0..50_u32, 0..200),
            limit in 0..60_usize,
        ) {
            let offered = || {
                let mut top = TopK::new(limit, u32::cmp);
                values.iter().for_each(|value| top.offer(*value));
                top
            };
            let mut sorted = values.clone();
            sorted.sort_unstable();
            let last = limit.checked_sub(1).and_then(|last| sorted.get(last)).copied();
            prop_assert_eq!(offered().last(), last);
            sorted.truncate(limit);
            prop_assert_eq!(offered().sorted(), sorted);
        }
    }
}
