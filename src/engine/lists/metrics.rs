//! Counts lists.

use super::{
    recommendation::{ColdReason, Degradation, EmptyReason, Generator, Recommendation, Strategy},
    request::ListKind,
};
use crate::{
    domain::ranking::exploration::ExplorationSkip,
    telemetry::meters::{self, Exploration, List},
};

/// Counts a list, with how it was made. The reasons of cold lists are those of lists
/// for users.
pub(super) fn count(list: &Recommendation, kind: &ListKind) {
    let label = match kind {
        _ if list.seen_fallback => List::SeenFallback,
        ListKind::SimilarTo { .. } => List::Similar,
        ListKind::MostPopular { .. } => List::Popular,
        ListKind::ForUser { .. } => match list.strategy {
            Strategy::Warm => List::Warm,
            Strategy::Cold(reason) => {
                meters::cold_lists(reason.name(), 1);
                List::Cold
            }
        },
    };
    meters::list(label);
    for (generator, candidates) in &list.generators {
        meters::candidates(generator.name(), *candidates, 1);
    }
    if let Some(reason) = list.empty {
        meters::empty_lists(reason.name(), 1);
    }
    for degradation in &list.degraded {
        meters::degraded_lists(degradation.label(), 1);
    }
    meters::exploration(match &list.exploration {
        Ok(_) => Exploration::Placed,
        Err(ExplorationSkip::NoCandidate) => Exploration::NoneLeft,
        Err(ExplorationSkip::NotDrawn) => Exploration::NotDrawn,
        Err(ExplorationSkip::Disabled | ExplorationSkip::LimitTooSmall) => Exploration::Off,
    });
}

/// Starts all series at 0.
pub(super) fn start() {
    for generator in Generator::OF_CANDIDATES {
        meters::candidates(generator.name(), 0, 0);
    }
    for reason in EmptyReason::ALL {
        meters::empty_lists(reason.name(), 0);
    }
    for reason in ColdReason::ALL {
        meters::cold_lists(reason.name(), 0);
    }
    for degradation in Degradation::ALL {
        meters::degraded_lists(degradation.label(), 0);
    }
}
