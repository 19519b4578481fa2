//! Lists of every kind, and why each item is in them: for a user, a session, both or
//! nobody; of items similar to one; of popular items. All are made by one path: whom or
//! what the list is for, its candidates, their ranking.
//!
//! The usual path is one read of the user's state and one batch of searches; the
//! liked items are read concurrently. A second batch is needed only if the first
//! one found nothing, or if a seed requires a sample to fill up.

mod assemble;
mod audience;
mod candidates;
mod gather;
mod metrics;
mod others;
mod plan;
mod recommendation;
mod request;

pub use recommendation::{
    ColdReason, Degradation, EmptyReason, Generator, Recommendation, Strategy,
};
pub use request::{Deadlines, ListKind, ListRequest, PopularityWindow, SimilarityBasis};

/// Starts the series of lists at 0.
pub(super) fn start_metrics() {
    metrics::start();
}
