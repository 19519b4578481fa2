//! What a refresh is requested for.

use std::time::Instant;

use super::built_model::BuiltModel;
use crate::{
    engine::error::EngineError,
    ports::{ObservedVersion, Rank},
};

/// The refreshed model; `None` if the user has no buffer.
pub(super) type RefreshResult = Result<Option<BuiltModel>, EngineError>;

/// A request to refresh a model. Requests of several callers are merged.
#[derive(Debug)]
pub(super) struct RefreshRequest {
    /// The lowest version of the buffer to build from.
    pub(super) observed: ObservedVersion,
    /// A stored model to replace, even if its version is higher.
    pub(super) replaces: Option<Rank>,
    /// Whether a model without its items is better than none.
    pub(super) accepts_incomplete: bool,
    /// Whether it is for the age of the stored model: then associations are written
    /// whether or not they changed.
    pub(super) renews: bool,
    /// When its events were received, and how many.
    pub(super) received: Vec<(Instant, usize)>,
}

impl RefreshRequest {
    /// A refresh from a buffer of at least this version.
    pub(super) fn from_version(observed: ObservedVersion) -> Self {
        Self {
            observed,
            replaces: None,
            accepts_incomplete: true,
            renews: false,
            received: Vec::new(),
        }
    }

    /// Adds the request of another caller.
    pub(super) fn merge(&mut self, other: Self) {
        let rank = |observed: &ObservedVersion| (observed.version, observed.observed_at);
        if rank(&other.observed) > rank(&self.observed) {
            self.observed = other.observed;
        }
        self.replaces = other.replaces.or(self.replaces);
        self.accepts_incomplete |= other.accepts_incomplete;
        self.renews |= other.renews;
        self.received.extend(other.received);
    }
}

#[cfg(test)]
mod tests {
    use super::RefreshRequest;
    use crate::{
        domain::time::Timestamp,
        ports::{ObservedVersion, Version},
    };

    fn request(version: u64, observed_at: i64) -> RefreshRequest {
        RefreshRequest::from_version(ObservedVersion {
            version: Some(Version(version)),
            observed_at: Timestamp::from_micros(observed_at),
        })
    }

    #[test]
    fn merged_requests_build_from_the_newest_version_that_one_observed() {
        for [first, second] in [[(5, 9), (7, 1)], [(7, 1), (5, 9)], [(7, 0), (7, 1)]] {
            let mut merged = request(first.0, first.1);
            merged.merge(request(second.0, second.1));
            assert_eq!(merged.observed.version, Some(Version(7)));
            assert_eq!(merged.observed.observed_at, Timestamp::from_micros(1));
        }
    }

    #[test]
    fn an_incomplete_model_is_accepted_if_one_request_accepts_it() {
        let strict = || RefreshRequest {
            accepts_incomplete: false,
            ..request(5, 1)
        };
        for (first, second, accepted) in [
            (strict(), strict(), false),
            (strict(), request(5, 1), true),
            (request(5, 1), strict(), true),
        ] {
            let mut merged = first;
            merged.merge(second);
            assert_eq!(merged.accepts_incomplete, accepted);
        }
    }
}
