//! Counts lists.

use crate::{
    domain::ranking::exploration::Skipped,
    engine::lists::{
        EmptyReason, LIKED_ITEMS, Recommendation, Strategy, USER_MODEL,
        candidates::{CATALOGUE, DISTANCE, EXPLORATION, SAMPLE, TAGS, TASTE, WITHOUT_INDEX},
    },
    telemetry::meters::{self, Degraded, EmptyList, Exploration, Generator, List},
};

/// Counts a list, and how it came about.
pub(super) fn count(list: &Recommendation) {
    meters::list(match list.strategy {
        _ if list.seen_fallback => List::SeenFallback,
        Strategy::Warm => List::Warm,
        Strategy::Cold => List::Cold,
    });
    for (name, candidates) in &list.generators {
        if let Some(generator) = generator(name) {
            meters::candidates(generator, *candidates);
        }
    }
    if let Some(reason) = list.empty {
        meters::empty_list(match reason {
            EmptyReason::CatalogueEmpty => EmptyList::CatalogEmpty,
            EmptyReason::NoItemMatches => EmptyList::NoItemMatches,
            EmptyReason::AllSeenOrExcluded => EmptyList::AllSeenOrExcluded,
        });
    }
    for cause in list.degraded.iter().filter_map(|what| degraded(what)) {
        meters::degraded(cause);
    }
    meters::exploration(match &list.exploration {
        Ok(_) => Exploration::Placed,
        Err(Skipped::NoCandidate) => Exploration::NoneLeft,
        Err(Skipped::NotDrawn) => Exploration::NotDrawn,
        Err(Skipped::Disabled | Skipped::LimitTooSmall) => Exploration::Off,
    });
}

fn generator(name: &str) -> Option<Generator> {
    match name {
        TASTE => Some(Generator::Taste),
        TAGS => Some(Generator::Tags),
        DISTANCE => Some(Generator::Distance),
        SAMPLE => Some(Generator::Sample),
        _ => None,
    }
}

fn degraded(what: &str) -> Option<Degraded> {
    if let Some(name) = what.strip_prefix(WITHOUT_INDEX) {
        return match generator(name) {
            Some(Generator::Taste) => Some(Degraded::Taste),
            Some(Generator::Tags) => Some(Degraded::Tags),
            Some(Generator::Distance) => Some(Degraded::Distance),
            Some(Generator::Sample) => Some(Degraded::Sample),
            None => (name == EXPLORATION).then_some(Degraded::Exploration),
        };
    }
    match what {
        USER_MODEL => Some(Degraded::UserModel),
        LIKED_ITEMS => Some(Degraded::LikedItems),
        CATALOGUE => Some(Degraded::Catalogue),
        _ => None,
    }
}
