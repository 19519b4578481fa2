//! The first ones in an order, without sorting what is behind them.

use std::cmp::Ordering;

/// Keeps the `limit` smallest of what it is offered.
pub(super) struct First<T, O> {
    limit: usize,
    order: O,
    kept: Vec<T>,
    /// The largest of `limit` that were offered: larger ones need not be looked at.
    bound: Option<T>,
}

impl<T: Copy, O: Fn(&T, &T) -> Ordering> First<T, O> {
    pub(super) fn new(limit: usize, order: O) -> Self {
        Self {
            limit,
            order,
            kept: Vec::new(),
            bound: None,
        }
    }

    /// No larger value can be among the first ones any more.
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
        self.kept.push(value);
        // At twice the limit, so that a cut is paid for by as many offers.
        if self.kept.len() >= self.limit.saturating_mul(2) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        if self.limit == 0 || self.kept.len() < self.limit {
            return;
        }
        let last = self.limit - 1;
        self.kept.select_nth_unstable_by(last, &self.order);
        self.kept.truncate(self.limit);
        self.bound = self.kept.last().copied();
    }

    /// The last of the first ones; `None` if there are fewer than `limit`.
    pub(super) fn last(mut self) -> Option<T> {
        self.cut();
        self.bound
    }

    /// The first ones, in order.
    pub(super) fn sorted(mut self) -> Vec<T> {
        self.cut();
        self.kept.sort_unstable_by(&self.order);
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::First;

    proptest! {
        #[test]
        fn the_first_ones_are_those_of_a_sort(
            values in prop::collection::vec(0..50_u32, 0..200),
            limit in 0..60_usize,
        ) {
            let gathered = || {
                let mut first = First::new(limit, u32::cmp);
                values.iter().for_each(|value| first.offer(*value));
                first
            };
            let mut sorted = values.clone();
            sorted.sort_unstable();
            let last = limit.checked_sub(1).and_then(|last| sorted.get(last)).copied();
            prop_assert_eq!(gathered().last(), last);
            sorted.truncate(limit);
            prop_assert_eq!(gathered().sorted(), sorted);
        }
    }
}
