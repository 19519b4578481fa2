//! A call's searches by cosine.

use std::collections::HashSet;

use super::allowed::AllowedSlots;
use crate::{
    domain::{ids::ContentId, restriction::Restriction, vector::UnitVector},
    ports::{Search, SearchOrder},
};

/// The order of a search by cosine.
#[derive(Clone, Copy)]
pub(super) enum CosineOrder {
    /// Largest cosine first.
    Nearest,
    /// Smallest cosine first.
    Farthest,
}

impl CosineOrder {
    /// The sort key of a cosine: smaller comes first.
    pub(super) fn sort_key(self, cosine: f64) -> f64 {
        match self {
            Self::Nearest => -cosine,
            Self::Farthest => cosine,
        }
    }
}

/// A search by cosine.
#[derive(Clone, Copy)]
pub(super) struct CosineSearch {
    pub(super) order: CosineOrder,
    pub(super) limit: usize,
}

/// Searches by cosine to one vector that allow the same items.
pub(crate) struct CosineCall {
    pub(super) vector: UnitVector,
    pub(super) searches: Vec<CosineSearch>,
    pub(super) restriction: Restriction,
    pub(crate) excluded: Vec<ContentId>,
}

/// Searches of a call, with the slots that they allow.
pub(super) struct CosineGroup<'a> {
    pub(super) vector: &'a UnitVector,
    pub(super) searches: Vec<CosineSearch>,
    pub(super) restriction: &'a Restriction,
    /// As the restriction and the excluded items say.
    pub(super) allowed: &'a AllowedSlots<'a>,
}

impl CosineCall {
    pub(super) fn allowing<'a>(&'a self, allowed: &'a AllowedSlots<'a>) -> CosineGroup<'a> {
        CosineGroup {
            vector: &self.vector,
            searches: self.searches.clone(),
            restriction: &self.restriction,
            allowed,
        }
    }

    /// The first of a call's searches by cosine, and those that a scan answers together
    /// with it, with their positions in the call. `None` if there are none.
    pub(crate) fn of(searches: &[Search<'_>]) -> Option<(Self, Vec<usize>)> {
        let mut vectors = searches.iter().enumerate();
        let (first, vector) =
            vectors.find_map(|(index, search)| Some((index, cosine_order(&search.order)?.0)))?;
        let search = &searches[first];
        let together = cosine_searches(searches, first, vector);
        if together.is_empty() {
            return None;
        }
        let excluded = search.exclude.iter().chain(search.exclude_afterwards);
        let call = Self {
            vector: vector.clone(),
            searches: together.iter().map(|(_, search)| *search).collect(),
            restriction: search.restriction.clone(),
            excluded: excluded.cloned().collect(),
        };
        Some((call, together.into_iter().map(|(index, _)| index).collect()))
    }
}

/// Vector and order of a search by cosine; `None` for other orders.
pub(super) fn cosine_order(order: &SearchOrder) -> Option<(&UnitVector, CosineOrder)> {
    match order {
        SearchOrder::NearestTo(vector) => Some((vector, CosineOrder::Nearest)),
        SearchOrder::FarthestFrom(vector) => Some((vector, CosineOrder::Farthest)),
        SearchOrder::TagOverlap(_)
        | SearchOrder::ClosestTo(_)
        | SearchOrder::ByIds(_)
        | SearchOrder::Sample { .. } => None,
    }
}

/// The searches, starting at `from`, by cosine to a vector that allow the same
/// items, with their positions: one scan answers all of them.
pub(super) fn cosine_searches(
    searches: &[Search<'_>],
    from: usize,
    vector: &UnitVector,
) -> Vec<(usize, CosineSearch)> {
    let others = searches.iter().enumerate().skip(from);
    others
        .filter(|(_, other)| other.limit > 0 && allow_the_same(&searches[from], other))
        .filter_map(|(index, other)| {
            let (other_vector, order) = cosine_order(&other.order)?;
            let limit = other.limit;
            (other_vector == vector).then_some((index, CosineSearch { order, limit }))
        })
        .collect()
}

/// Whether two searches of a call allow the same items.
pub(super) fn allow_the_same(a: &Search<'_>, b: &Search<'_>) -> bool {
    let same_ids = |a: &HashSet<ContentId>, b: &HashSet<ContentId>| std::ptr::eq(a, b);
    std::ptr::eq(a.restriction, b.restriction)
        && same_ids(a.exclude, b.exclude)
        && same_ids(a.exclude_afterwards, b.exclude_afterwards)
}
