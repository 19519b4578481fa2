//! A list, with how it was made.

use std::fmt;

use crate::{
    domain::{
        ids::ContentId,
        ranking::{ExplorationItem, RankedItem, exploration::ExplorationSkip},
    },
    engine::{experiments::Treatment, models::SignalsSource},
};

/// A list, with how it was made.
#[derive(Clone, Debug)]
pub struct Recommendation {
    /// A fresh id of the list.
    pub request_id: String,
    /// Whether that id is signed, so that events are attributed by it.
    pub is_signed: bool,
    /// The list's placement and the user's variant.
    pub treatment: Treatment,
    /// What it is based on.
    pub strategy: Strategy,
    /// The items, first position first.
    pub items: Vec<RankedItem>,
    /// Why each item is in the list, in plain English; empty texts for items that
    /// nothing speaks for.
    pub reasons: Vec<String>,
    /// Number of candidates.
    pub pool_size: usize,
    /// Number of candidates that were scored.
    pub scored: usize,
    /// Number of candidates of each generator. A candidate of several generators
    /// counts for the first one.
    pub generators: Vec<(Generator, usize)>,
    /// Whether an unrestricted request fell back to a random sample.
    pub cold_start_fallback: bool,
    /// Whether a restricted request fell back to seen items.
    pub seen_fallback: bool,
    /// Whether a list of similar items fell back to popular ones.
    pub popular_fallback: bool,
    /// Items at hand that the catalogue lacks, the latest first.
    pub unknown_context: Vec<ContentId>,
    /// Why the list is empty; `None` if it is not.
    pub empty: Option<EmptyReason>,
    /// The exploration item, or why there is none.
    pub exploration: Result<ExplorationItem, ExplorationSkip>,
    /// What could not be used.
    pub degraded: Vec<Degradation>,
    /// Where the user's model comes from.
    pub signals_source: SignalsSource,
}

/// What a list is based on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// The user's likes, or the items at hand.
    Warm,
    /// Other signals, because the user likes nothing yet, or a random sample.
    Cold(ColdReason),
}

/// Why a list is cold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColdReason {
    /// The list is for nobody.
    NoUser,
    /// Nothing is known of the user.
    UnknownUser,
    /// None of the user's events makes an item liked.
    NoPositiveEvents,
    /// The user's model could not be read.
    UserStateUnavailable,
    /// Liked or unseen items have neither tags nor vectors.
    CatalogueWithoutFeatures,
}

impl ColdReason {
    pub(super) const ALL: [Self; 5] = [
        Self::NoUser,
        Self::UnknownUser,
        Self::NoPositiveEvents,
        Self::UserStateUnavailable,
        Self::CatalogueWithoutFeatures,
    ];

    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoUser => "no_user",
            Self::UnknownUser => "unknown_user",
            Self::NoPositiveEvents => "no_positive_events",
            Self::UserStateUnavailable => "user_state_unavailable",
            Self::CatalogueWithoutFeatures => "catalog_without_features",
        }
    }
}

/// Why a list is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmptyReason {
    /// The catalogue has no items.
    CatalogueEmpty,
    /// No item meets the restrictions.
    NoItemMatches,
    /// All matching items are seen or excluded.
    AllSeenOrExcluded,
    /// No matching item is popular.
    NoPopularity,
}

impl EmptyReason {
    pub(super) const ALL: [Self; 4] = [
        Self::CatalogueEmpty,
        Self::NoItemMatches,
        Self::AllSeenOrExcluded,
        Self::NoPopularity,
    ];

    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CatalogueEmpty => "catalog_empty",
            Self::NoItemMatches => "no_item_matches",
            Self::AllSeenOrExcluded => "all_seen_or_excluded",
            Self::NoPopularity => "no_popularity",
        }
    }
}

/// A generator of candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generator {
    /// Items that other users chose together with the user's.
    Collaborative,
    /// Items nearest to the taste vector.
    Taste,
    /// Items with the most overlap with the liked tags.
    Tags,
    /// Items closest to the user's position.
    Distance,
    /// The most popular items.
    Popular,
    /// A random sample.
    Sample,
    /// Items for the exploration position of an unrestricted list. They are not
    /// candidates of the other positions.
    Exploration,
}

impl Generator {
    /// The generators of candidates.
    pub(super) const OF_CANDIDATES: [Self; 6] = [
        Self::Collaborative,
        Self::Taste,
        Self::Tags,
        Self::Distance,
        Self::Popular,
        Self::Sample,
    ];

    /// Its name in replies and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Collaborative => "collaborative",
            Self::Popular => "popular",
            Self::Taste => "taste",
            Self::Tags => "tags",
            Self::Distance => "distance",
            Self::Sample => "sample",
            Self::Exploration => "exploration",
        }
    }
}

/// Something that a list was made without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Degradation {
    /// The user's model could not be read, or not be built from all its items.
    UserModel,
    /// The liked items could not be read.
    LikedItems,
    /// The items at hand could not be read.
    Context,
    /// No candidate has an attribute that this boost names.
    Boost(usize),
    /// What other users did could not be read, or not all of it.
    Associations,
    /// The catalogue did not answer: items are those cached in this process.
    Catalogue,
    /// A generator lacks its index.
    Generator(Generator),
}

impl Degradation {
    pub(super) const ALL: [Self; 13] = [
        Self::UserModel,
        Self::LikedItems,
        Self::Context,
        Self::Boost(0),
        Self::Associations,
        Self::Catalogue,
        Self::Generator(Generator::Collaborative),
        Self::Generator(Generator::Popular),
        Self::Generator(Generator::Taste),
        Self::Generator(Generator::Tags),
        Self::Generator(Generator::Distance),
        Self::Generator(Generator::Sample),
        Self::Generator(Generator::Exploration),
    ];

    /// Its name in metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::UserModel => "user_model",
            Self::LikedItems => "liked_items",
            Self::Context => "context",
            Self::Boost(_) => "boosts",
            Self::Associations => "associations",
            Self::Generator(Generator::Collaborative) => "generator_collaborative",
            Self::Generator(Generator::Popular) => "generator_popular",
            Self::Catalogue => "catalogue",
            Self::Generator(Generator::Taste) => "generator_taste",
            Self::Generator(Generator::Tags) => "generator_tags",
            Self::Generator(Generator::Distance) => "generator_distance",
            Self::Generator(Generator::Sample) => "generator_sample",
            Self::Generator(Generator::Exploration) => "generator_exploration",
        }
    }
}

/// Its name in replies.
impl fmt::Display for Degradation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Generator(generator) => write!(f, "generator:{}", generator.name()),
            Self::Boost(index) => write!(f, "boosts[{index}]"),
            Self::UserModel
            | Self::LikedItems
            | Self::Context
            | Self::Associations
            | Self::Catalogue => f.write_str(self.label()),
        }
    }
}
