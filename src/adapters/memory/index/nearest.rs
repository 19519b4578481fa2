//! Which rows can be among the first of an order by cosine.

use std::cmp::Ordering;

use super::{first::First, vectors::Bounds};

/// How many rows are passed at once if none of them can be among the first.
const AT_ONCE: usize = 16;

/// Which end of an order by cosine comes first.
#[derive(Clone, Copy)]
pub(super) enum End {
    Nearest,
    Farthest,
}

impl End {
    /// Smaller comes first.
    pub(super) fn place(self, cosine: f64) -> f64 {
        match self {
            Self::Nearest => -cosine,
            Self::Farthest => cosine,
        }
    }
}

/// Gathers, out of bounds, the rows that can be among the first `limit`: those
/// that are not certainly behind so many others.
pub(super) struct Possible {
    end: End,
    /// Where rows are at worst.
    certain: First<f32, fn(&f32, &f32) -> Ordering>,
    /// With where they are at best.
    rows: Vec<(f32, u32)>,
}

impl Possible {
    pub(super) fn new(end: End, limit: usize) -> Self {
        let order: fn(&f32, &f32) -> Ordering = f32::total_cmp;
        Self {
            end,
            certain: First::new(limit, order),
            rows: Vec::new(),
        }
    }

    /// Takes rows in, of those that `allowed` holds.
    pub(super) fn take(&mut self, bounds: &Bounds<'_>, allowed: impl Fn(u32) -> bool) {
        // Places, of which smaller comes first.
        let (best, worst, sign) = match self.end {
            End::Nearest => (bounds.high, bounds.low, -1.0),
            End::Farthest => (bounds.low, bounds.high, 1.0),
        };
        let mut last = self.last();
        for begin in (0..best.len()).step_by(AT_ONCE) {
            let rows = begin..best.len().min(begin + AT_ONCE);
            if none_before(&best[rows.clone()], sign, last) {
                continue;
            }
            for row in rows {
                let place = sign * best[row];
                if is_open(place, last) && allowed(bounds.slots[row]) {
                    self.rows.push((place, bounds.first_row + row as u32));
                    self.certain.offer(sign * worst[row]);
                }
            }
            last = self.last();
        }
    }

    /// `limit` rows are certainly here or before.
    fn last(&self) -> f32 {
        self.certain.bound().unwrap_or(f32::INFINITY)
    }

    pub(super) fn rows(self) -> Vec<u32> {
        let last = self.certain.last().unwrap_or(f32::INFINITY);
        let open = self
            .rows
            .into_iter()
            .filter(|(best, _)| is_open(*best, last));
        open.map(|(_, row)| row).collect()
    }
}

/// Whether a row can be no later than the last of the certain ones. Cosines are
/// cut to what a cosine can be, so those beyond are equals.
#[inline(always)]
fn is_open(best: f32, last: f32) -> bool {
    best.min(1.0) <= last.max(-1.0)
}

#[inline(always)]
fn none_before(best: &[f32], sign: f32, last: f32) -> bool {
    let mut open = false;
    for best in best {
        open |= is_open(sign * best, last);
    }
    !open
}
