//! The rows that may be among the first results of a search by cosine, judged by
//! the bounds of their cosines.

use std::cmp::Ordering;

use super::{
    cosine::{CosineOrder, CosineSearch},
    top_k::TopK,
    vectors::CosineBounds,
};

/// Rows that are skipped at once if none of them may be among the first.
const CHUNK_ROWS: usize = 16;

/// Collects the rows that may be among the first `limit`: those that are not
/// certainly behind as many others.
pub(super) struct CandidateRows {
    order: CosineOrder,
    /// Sort keys of rows at their worst.
    worst: TopK<f32, fn(&f32, &f32) -> Ordering>,
    /// Rows with their sort keys at their best.
    rows: Vec<(f32, u32)>,
}

impl CandidateRows {
    pub(super) fn new(search: CosineSearch) -> Self {
        let ascending: fn(&f32, &f32) -> Ordering = f32::total_cmp;
        Self {
            order: search.order,
            worst: TopK::new(search.limit, ascending),
            rows: Vec::new(),
        }
    }

    /// Adds the candidates among some rows whose slots are allowed.
    pub(super) fn add(&mut self, bounds: &CosineBounds<'_>, is_allowed: impl Fn(u32) -> bool) {
        // Sort keys: smaller comes first.
        let (best, worst, sign) = match self.order {
            CosineOrder::Nearest => (bounds.high, bounds.low, -1.0),
            CosineOrder::Farthest => (bounds.low, bounds.high, 1.0),
        };
        let mut last = self.last();
        for begin in (0..best.len()).step_by(CHUNK_ROWS) {
            let rows = begin..best.len().min(begin + CHUNK_ROWS);
            if has_no_candidate(&best[rows.clone()], sign, last) {
                continue;
            }
            for row in rows {
                let key = sign * best[row];
                if is_candidate(key, last) && is_allowed(bounds.slots[row]) {
                    self.rows.push((key, bounds.first_row + row as u32));
                    self.worst.offer(sign * worst[row]);
                }
            }
            last = self.last();
        }
    }

    /// A sort key that `limit` rows certainly do not exceed.
    fn last(&self) -> f32 {
        self.worst.bound().unwrap_or(f32::INFINITY)
    }

    /// The candidates, in no order.
    pub(super) fn rows(self) -> Vec<u32> {
        let last = self.worst.last().unwrap_or(f32::INFINITY);
        let candidates = self
            .rows
            .into_iter()
            .filter(|(best, _)| is_candidate(*best, last));
        candidates.map(|(_, row)| row).collect()
    }
}

/// Whether a row may come before the last of the certain ones. Exact cosines are
/// clamped to [-1, 1], so keys beyond are equal.
#[inline(always)]
fn is_candidate(best: f32, last: f32) -> bool {
    best.min(1.0) <= last.max(-1.0)
}

#[inline(always)]
fn has_no_candidate(best: &[f32], sign: f32, last: f32) -> bool {
    let mut any = false;
    for best in best {
        any |= is_candidate(sign * best, last);
    }
    !any
}
