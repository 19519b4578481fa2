//! Whether an item is liked.

use crate::domain::ranking_config::RankingConfig;

/// What a user thinks of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opinion {
    /// Its strength reaches the positive threshold.
    Liked,
    /// Its strength reaches the negative threshold.
    Disliked,
    /// Neither.
    Neutral,
}

impl Opinion {
    /// The opinion of an item with this strength, before decay.
    #[must_use]
    pub fn of(strength: f64, config: &RankingConfig) -> Self {
        if strength >= config.positive_threshold {
            Self::Liked
        } else if strength <= config.negative_threshold {
            Self::Disliked
        } else {
            Self::Neutral
        }
    }

    /// Its name in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Liked => "liked",
            Self::Disliked => "disliked",
            Self::Neutral => "neutral",
        }
    }
}
