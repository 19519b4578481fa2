//! The explicit strength of an item, from its events.

use super::rule::{EventRule, rating_strength};
use crate::domain::event::{EndReason, InteractionEvent, event_types};

/// What a user's events say explicitly about one item. Observe each of the item's
/// events once, in buffer order.
///
/// Among the events whose type has a rule, a negative strength revokes all
/// earlier ones, and a strength of 0 all earlier ones that are not `done`. The
/// explicit strength is the largest of those left; if none is left, that of the
/// latest one at or below 0.
///
/// A rating counts as such an event, later than the rule of its own event. An
/// item's latest rating replaces earlier ones, as if they did not exist. Only a
/// negative rating revokes earlier events.
///
/// Weak rules count only while the item has no dwell time, no end reason, no
/// rating and no event with another rule. Among themselves they follow the same
/// rules.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ExplicitStrength {
    /// Events with a rule that is not weak, regardless of ratings.
    table: RuleEvents,
    /// Those of them that are later than the latest rating.
    since_rating: RuleEvents,
    /// Events with a weak rule.
    weak: RuleEvents,
    /// Strength of the latest rating.
    rating: Option<f64>,
    has_dwell: bool,
    has_start: bool,
    has_end: bool,
    has_end_reason: bool,
}

impl ExplicitStrength {
    /// Adds the item's next event in buffer order, with the rule of its type.
    pub fn observe(&mut self, event: &InteractionEvent, rule: Option<EventRule>) {
        self.has_dwell |= event.dwell_seconds.is_some();
        match event.event_type.as_str() {
            event_types::VIEW_STARTED => self.has_start = true,
            event_types::VIEW_ENDED => {
                self.has_end = true;
                self.has_end_reason = event.end_reason.is_some();
                if event.end_reason == Some(EndReason::NextButton) {
                    self.mark_done();
                }
            }
            _ => {}
        }
        if let Some(rule) = rule {
            if rule.weak {
                self.weak.add(rule);
            } else {
                self.table.add(rule);
                self.since_rating.add(rule);
            }
            if rule.done {
                self.mark_done();
            }
        }
        if let Some(rating) = event.rating() {
            self.rating = Some(rating_strength(rating));
            self.since_rating = RuleEvents::default();
        }
    }

    /// The explicit strength, −1 to 1; `None` if nothing is explicit.
    #[must_use]
    pub fn strength(&self) -> Option<f64> {
        let Some(rating) = self.rating else {
            return match self.table.strength() {
                None if self.weak_counts() => self.weak.strength(),
                strength => strength,
            };
        };
        if rating < 0.0 {
            return self.since_rating.strength().or(Some(rating));
        }
        if self.since_rating.has_reset() {
            return self.table.strength();
        }
        Some(self.table.largest().max(rating))
    }

    /// Whether the user is done with the item: a `done` event, or an end by
    /// [`EndReason::NextButton`], is later than the latest negative explicit event.
    #[must_use]
    pub fn is_done(&self) -> bool {
        if self.weak_counts() {
            self.weak.done
        } else if self.rating.is_some_and(|rating| rating < 0.0) {
            self.since_rating.done
        } else {
            self.table.done
        }
    }

    fn weak_counts(&self) -> bool {
        let has_dwell = self.has_dwell || (self.has_start && self.has_end);
        !has_dwell && !self.has_end_reason && self.rating.is_none() && !self.table.is_any()
    }

    fn mark_done(&mut self) {
        for events in [&mut self.table, &mut self.since_rating, &mut self.weak] {
            events.done = true;
        }
    }
}

/// The strength of an item: the explicit one if it is negative, else the larger of
/// it and what the user's behaviour says (`engagement`).
#[must_use]
pub fn strength(explicit: Option<f64>, engagement: f64) -> f64 {
    match explicit {
        Some(explicit) if explicit < 0.0 => explicit,
        Some(explicit) => explicit.max(engagement),
        None => engagement,
    }
}

/// A sequence of events with a rule, summed up.
#[derive(Clone, Copy, Debug, PartialEq)]
struct RuleEvents {
    /// The largest strength since the latest one at or below 0.
    plain: f64,
    /// The largest strength of `done` events since the latest one below 0.
    done_events: f64,
    /// The latest strength at or below 0.
    reset: f64,
    /// Whether the user was done with the item after the latest one below 0.
    done: bool,
}

impl RuleEvents {
    /// Stands for the strength of no event.
    const NONE: f64 = f64::NEG_INFINITY;

    fn add(&mut self, rule: EventRule) {
        let strength = rule.strength;
        if strength <= 0.0 {
            self.plain = Self::NONE;
            self.reset = strength;
        }
        if strength < 0.0 {
            self.done_events = Self::NONE;
            self.done = false;
        } else if rule.done {
            self.done_events = self.done_events.max(strength);
        } else if strength > 0.0 {
            self.plain = self.plain.max(strength);
        }
    }

    fn largest(&self) -> f64 {
        self.plain.max(self.done_events)
    }

    fn has_reset(&self) -> bool {
        self.reset > Self::NONE
    }

    fn is_any(&self) -> bool {
        self.has_reset() || self.largest() > Self::NONE
    }

    fn strength(&self) -> Option<f64> {
        let largest = self.largest();
        [largest, self.reset]
            .into_iter()
            .find(|strength| *strength > Self::NONE)
    }
}

impl Default for RuleEvents {
    fn default() -> Self {
        Self {
            plain: Self::NONE,
            done_events: Self::NONE,
            reset: Self::NONE,
            done: false,
        }
    }
}

#[cfg(test)]
mod tests;
