//! Items by popularity.

use foldhash::HashMap;

use super::popularity::share_of_largest;
use crate::domain::ids::ContentId;

/// Items with their popularity as a share of the largest, the most popular first,
/// ties in the order of their ids.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PopularItems {
    items: Vec<(ContentId, f64)>,
    shares: HashMap<ContentId, f64>,
}

impl PopularItems {
    /// The items of a ranking, each with its [`popularity_key`](super::popularity_key),
    /// in any order. Keys that are not finite are left out.
    #[must_use]
    pub fn new(mut keys: Vec<(ContentId, f64)>) -> Self {
        keys.retain(|(_, key)| key.is_finite());
        keys.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let largest = keys.first().map_or(0.0, |(_, key)| *key);
        let items: Vec<(ContentId, f64)> = keys
            .into_iter()
            .map(|(item, key)| (item, share_of_largest(key, largest)))
            .collect();
        let shares = items.iter().cloned().collect();
        Self { items, shares }
    }

    /// The popularity of an item, 0 to 1; 0 if it is not among them.
    #[must_use]
    pub fn share(&self, item: &ContentId) -> f64 {
        self.shares.get(item).copied().unwrap_or(0.0)
    }

    /// The items with their popularity, the most popular first.
    #[must_use]
    pub fn items(&self) -> &[(ContentId, f64)] {
        &self.items
    }

    /// Those of these items that have a popularity, as a share of the largest among
    /// them.
    #[must_use]
    pub fn among<'a>(&self, items: impl Iterator<Item = &'a ContentId>) -> Self {
        let mut items: Vec<(ContentId, f64)> = items
            .filter_map(|item| Some((item.clone(), *self.shares.get(item)?)))
            .collect();
        items.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        items.dedup_by(|a, b| a.0 == b.0);
        let largest = items.first().map_or(0.0, |(_, share)| *share);
        if largest > 0.0 {
            for (_, share) in &mut items {
                *share /= largest;
            }
        }
        let shares = items.iter().cloned().collect();
        Self { items, shares }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::PopularItems;

    #[test]
    fn items_are_ordered_by_their_share_of_the_largest() {
        let keys = [("b", 3.0), ("a", 3.0), ("c", 5.0), ("x", f64::NAN)];
        let keys = keys.map(|(item, key)| (item.into(), key)).to_vec();
        let popular = PopularItems::new(keys);
        let expected = [("c", 1.0), ("a", 0.25), ("b", 0.25)];
        let expected = expected.map(|(item, share)| (item.into(), share));
        assert_eq!(popular.items(), expected);
        assert_eq!(popular.share(&"b".into()), 0.25);
        assert_eq!(popular.share(&"x".into()), 0.0);
        assert!(PopularItems::new(Vec::new()).is_empty());
    }

    #[test]
    fn of_some_items_the_most_popular_one_has_the_share_1() {
        let keys = [("a", 5.0), ("b", 3.0), ("c", 1.0)];
        let popular = PopularItems::new(keys.map(|(item, key)| (item.into(), key)).to_vec());
        let some = ["c", "unknown", "b"].map(Into::into);
        let expected = [("b", 1.0), ("c", 0.25)].map(|(item, share)| (item.into(), share));
        assert_eq!(popular.among(some.iter()).items(), expected);
        assert!(popular.among([].iter()).is_empty());
    }
}
