//! What a refresh is requested for.

use std::time::Instant;

use crate::{
    engine::error::EngineError,
    ports::{BufferSnapshot, Rank, StoredModel, Version},
};

/// The refreshed model; `None` if the user has no buffer.
pub(super) type RefreshResult = Result<Option<StoredModel>, EngineError>;

/// A request to refresh a model. Requests of several callers are merged.
#[derive(Debug)]
pub(super) struct RefreshRequest {
    /// The lowest version of the buffer to build from.
    pub(super) min_version: Version,
    /// The newest known buffer.
    pub(super) buffer: Option<BufferSnapshot>,
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
    /// A refresh from a buffer of at least this version, which must be read.
    pub(super) fn from_version(min_version: Version) -> Self {
        Self {
            min_version,
            buffer: None,
            replaces: None,
            accepts_incomplete: true,
            renews: false,
            received: Vec::new(),
        }
    }

    /// Adds the request of another caller.
    pub(super) fn merge(&mut self, other: Self) {
        self.min_version = self.min_version.max(other.min_version);
        let version =
            |buffer: &Option<BufferSnapshot>| buffer.as_ref().and_then(|buffer| buffer.version);
        if version(&other.buffer) > version(&self.buffer) {
            self.buffer = other.buffer;
        }
        self.replaces = other.replaces.or(self.replaces);
        self.accepts_incomplete |= other.accepts_incomplete;
        self.renews |= other.renews;
        self.received.extend(other.received);
    }

    /// Takes the known buffer, if it is new enough.
    pub(super) fn take_buffer(&mut self) -> Option<BufferSnapshot> {
        let min_version = self.min_version;
        self.buffer
            .take()
            .filter(|buffer| buffer.version >= Some(min_version))
    }
}

#[cfg(test)]
mod tests {
    use super::RefreshRequest;
    use crate::{
        domain::time::Timestamp,
        ports::{BufferSnapshot, Version},
    };

    fn request(min_version: u64, known: Option<u64>) -> RefreshRequest {
        RefreshRequest {
            buffer: known.map(|version| BufferSnapshot {
                version: Some(Version(version)),
                now: Timestamp::from_micros(0),
                events: Vec::new(),
            }),
            ..RefreshRequest::from_version(Version(min_version))
        }
    }

    /// Version of the known buffer that merged requests are built from.
    fn merged(
        mut first: RefreshRequest,
        others: impl IntoIterator<Item = RefreshRequest>,
    ) -> Option<Version> {
        for other in others {
            first.merge(other);
        }
        first.take_buffer().and_then(|buffer| buffer.version)
    }

    #[test]
    fn merged_requests_use_the_newest_known_buffer() {
        for [first, second] in [[5, 7], [7, 5]] {
            let version = merged(request(5, Some(first)), [request(5, Some(second))]);
            assert_eq!(version, Some(Version(7)));
        }
        assert_eq!(
            merged(request(5, None), [request(5, Some(5))]),
            Some(Version(5))
        );
    }

    #[test]
    fn a_buffer_older_than_a_request_needs_is_read_again() {
        assert_eq!(merged(request(5, Some(5)), [request(6, None)]), None);
        assert_eq!(merged(request(6, None), [request(5, Some(5))]), None);
        assert_eq!(merged(request(5, Some(4)), []), None);
    }

    #[test]
    fn an_incomplete_model_is_accepted_if_one_request_accepts_it() {
        let strict = || RefreshRequest {
            accepts_incomplete: false,
            ..request(5, None)
        };
        for (first, second, accepted) in [
            (strict(), strict(), false),
            (strict(), request(5, None), true),
            (request(5, None), strict(), true),
        ] {
            let mut merged = first;
            merged.merge(second);
            assert_eq!(merged.accepts_incomplete, accepted);
        }
    }
}
