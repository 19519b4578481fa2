//! Which neighbour rows are due for a rebuild.

use std::cmp::Ordering;

use crate::domain::ids::ContentId;

/// A row is due once one in this many members of its audience has changed.
const DUE_FRACTION: usize = 10;

/// How many changes make a row due: a tenth of its audience, divided among the
/// `replicas` processes that each count their own, but at least 1.
#[must_use]
pub fn due_threshold(audience_size: usize, replicas: usize) -> f64 {
    let divisor = DUE_FRACTION.saturating_mul(replicas.max(1));
    (audience_size as f64 / divisor as f64).max(1.0)
}

/// The changes to an item's audience since its row was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowChanges {
    /// The item.
    pub item: ContentId,
    /// Changes that this process counted.
    pub changes: usize,
    /// Members of the item's audience.
    pub audience_size: usize,
}

impl RowChanges {
    /// Whether the row is due.
    #[must_use]
    pub fn is_due(&self, replicas: usize) -> bool {
        self.changes as f64 >= due_threshold(self.audience_size, replicas)
    }

    /// The order in which due rows are built: the largest change relative to the
    /// audience first, ties by item id.
    #[must_use]
    pub fn refresh_order(&self, other: &Self) -> Ordering {
        other
            .relative_change()
            .total_cmp(&self.relative_change())
            .then_with(|| self.item.cmp(&other.item))
    }

    fn relative_change(&self) -> f64 {
        self.changes as f64 / self.audience_size.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::{RowChanges, due_threshold};

    fn changes(item: &str, changes: usize, audience_size: usize) -> RowChanges {
        RowChanges {
            item: item.into(),
            changes,
            audience_size,
        }
    }

    #[test]
    fn a_row_is_due_at_a_tenth_of_its_audience_shared_by_the_replicas() {
        assert_eq!(due_threshold(0, 1), 1.0);
        assert_eq!(due_threshold(500, 1), 50.0);
        assert_eq!(due_threshold(500, 4), 12.5);
        assert_eq!(due_threshold(500, 0), 50.0);
        assert!(!changes("a", 0, 0).is_due(1));
        assert!(changes("a", 1, 0).is_due(1));
        assert!(changes("a", 1, 10).is_due(1));
        assert!(changes("a", 3, 30).is_due(1));
        assert!(!changes("a", 49, 500).is_due(1));
        assert!(changes("a", 50, 500).is_due(1));
        assert!(!changes("a", 12, 500).is_due(4));
        assert!(changes("a", 13, 500).is_due(4));
    }

    #[test]
    fn the_largest_relative_change_is_built_first() {
        let mut rows = [
            changes("c", 10, 100),
            changes("b", 1, 10),
            changes("a", 5, 10),
            changes("d", 1, 0),
        ];
        rows.sort_by(RowChanges::refresh_order);
        let order: Vec<_> = rows.iter().map(|row| row.item.as_str()).collect();
        assert_eq!(order, ["d", "a", "b", "c"]);
    }
}
