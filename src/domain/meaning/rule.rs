//! The ranking file's rules for event types.

use serde::{Deserialize, Serialize};

/// What events of one type say about their item.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EventRule {
    /// From −1 (dislike) to 1 (like); 0 revokes earlier likes.
    pub strength: f64,
    /// Whether it counts only while the item has no dwell time, no end reason, no
    /// rating and no event that is not weak.
    pub weak: bool,
    /// Whether the user is done with the item afterwards.
    pub done: bool,
}

/// An entry of the ranking file's `[[events]]`: one rule for several types.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventEntry {
    /// The types, in any spelling.
    pub types: Vec<String>,
    /// See [`EventRule::strength`].
    pub strength: f64,
    /// See [`EventRule::weak`].
    #[serde(default)]
    pub weak: bool,
    /// See [`EventRule::done`].
    #[serde(default)]
    pub done: bool,
}

impl EventEntry {
    /// The rule of each of its types.
    #[must_use]
    pub fn rule(&self) -> EventRule {
        EventRule {
            strength: self.strength,
            weak: self.weak,
            done: self.done,
        }
    }
}

/// The strength of a rating from 0 to 5: `(rating - 3) / 2`, clamped to ±1.
#[must_use]
pub fn rating_strength(rating: f64) -> f64 {
    ((rating - 3.0) / 2.0).clamp(-1.0, 1.0)
}
