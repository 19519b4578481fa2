//! What users who liked this user's last item also liked.

use foldhash::HashMap;

use super::popular::Popular;
use crate::eval::{
    log::{ReplayEvent, ReplayLog},
    ranker::{ListQuery, ListRanker, ListedItems, RankerError},
};

/// How many of a user's latest liked items a further like is paired with.
const SPAN: usize = 20;

/// Items by how many users liked them shortly before or after the item that
/// this user liked last; equal ones, and what is missing, by popularity.
#[derive(Debug, Default)]
pub struct CoOccurrence {
    popular: Popular,
    /// Of each item, how often each other one was liked near it.
    pairs: Vec<HashMap<u32, u32>>,
    /// Of each user, the latest liked items, each once, the latest last.
    latest: Vec<Vec<u32>>,
}

impl ListRanker for CoOccurrence {
    fn list(&mut self, query: &ListQuery<'_>) -> Result<ListedItems, RankerError> {
        let last = self
            .latest
            .get(query.event.user as usize)
            .and_then(|latest| latest.last());
        let row = last.and_then(|last| self.pairs.get(*last as usize));
        let mut near: Vec<(u32, u32)> = row
            .into_iter()
            .flatten()
            .filter(|(item, _)| query.may_show(**item))
            .map(|(item, count)| (*item, *count))
            .collect();
        let weight = |item: u32| self.popular.weight(item);
        near.sort_unstable_by(|(a, a_count), (b, b_count)| {
            b_count
                .cmp(a_count)
                .then_with(|| weight(*b).total_cmp(&weight(*a)))
                .then_with(|| a.cmp(b))
        });
        let k = query.rules.k;
        let cold = near.is_empty();
        let mut items: Vec<u32> = near.into_iter().take(k).map(|(item, _)| item).collect();
        for item in self.popular.items() {
            if items.len() >= k {
                break;
            }
            if query.may_show(item) && !items.contains(&item) {
                items.push(item);
            }
        }
        Ok(ListedItems {
            items,
            cold: Some(cold),
        })
    }

    fn learn(&mut self, log: &ReplayLog, event: &ReplayEvent) -> Result<(), RankerError> {
        self.popular.learn(log, event)?;
        let Some(item) = event.item.filter(|_| event.is_like) else {
            return Ok(());
        };
        self.pairs.resize_with(log.items.len(), HashMap::default);
        self.latest.resize_with(log.users.len(), Vec::new);
        let latest = &mut self.latest[event.user as usize];
        if let Some(place) = latest.iter().position(|known| *known == item) {
            // A repeated like is no further pair.
            latest.remove(place);
        } else {
            for other in latest.iter() {
                for (of, with) in [(item, *other), (*other, item)] {
                    *self.pairs[of as usize].entry(with).or_default() += 1;
                }
            }
            if latest.len() == SPAN {
                latest.remove(0);
            }
        }
        latest.push(item);
        Ok(())
    }
}
