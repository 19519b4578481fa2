//! A random sample.

use std::collections::HashSet;

use crate::eval::{
    log::{ReplayEvent, ReplayLog},
    ranker::{ListQuery, ListRanker, ListedItems, RankerError},
    rng::SeededRng,
};

/// Items of the catalogue, drawn evenly.
#[derive(Debug, Default)]
pub struct RandomItems;

impl ListRanker for RandomItems {
    fn list(&mut self, query: &ListQuery<'_>) -> Result<ListedItems, RankerError> {
        let mut rng = SeededRng::new(query.rules.seed, u64::from(query.position));
        let (count, k) = (query.log.catalogue.len(), query.rules.k);
        // Where most items may be shown, drawing again is cheaper than a list
        // of those that may.
        let draws_again = count > 4 * (query.history.len() + k);
        let items = if draws_again {
            let mut drawn = Vec::with_capacity(k);
            let mut taken = HashSet::with_capacity(k);
            while drawn.len() < k {
                let item = rng.below(count) as u32;
                if query.may_show(item) && taken.insert(item) {
                    drawn.push(item);
                }
            }
            drawn
        } else {
            let items = 0..count as u32;
            let mut items: Vec<u32> = items.filter(|item| query.may_show(*item)).collect();
            rng.shuffle(&mut items);
            items.truncate(k);
            items
        };
        Ok(ListedItems { items, cold: None })
    }

    fn learn(&mut self, _: &ReplayLog, _: &ReplayEvent) -> Result<(), RankerError> {
        Ok(())
    }
}
