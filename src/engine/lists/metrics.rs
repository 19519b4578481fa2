//! Counts lists.

use super::recommendation::{
    ColdReason, Degradation, EmptyReason, Generator, Recommendation, Strategy,
};
use crate::{
    domain::ranking::exploration::ExplorationSkip,
    telemetry::meters::{self, Exploration, List},
};

/// Counts a list, with how it was made.
pub(super) fn count(list: &Recommendation) {
    meters::list(match list.strategy {
        _ if list.seen_fallback => List::SeenFallback,
        Strategy::Warm => List::Warm,
        Strategy::Cold(_) => List::Cold,
    });
    if let Strategy::Cold(reason) = list.strategy {
        meters::cold_lists(reason.name(), 1);
    }
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
