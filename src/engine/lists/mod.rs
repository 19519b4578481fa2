//! What a user should see next, and why.
//!
//! The usual path is one read of the user's state and one batch of searches; the
//! liked items are read concurrently. A second batch is needed only if the first
//! one found nothing, or if a seed requires a sample to fill up.

mod assemble;
mod gather;
mod metrics;
mod others;
mod plan;
mod recommendation;
mod request;

pub use recommendation::{
    ColdReason, Degradation, EmptyReason, Generator, Recommendation, Strategy,
};
pub use request::{Deadlines, RecommendRequest};

/// Starts the series of lists at 0.
pub(super) fn start_metrics() {
    metrics::start();
}
