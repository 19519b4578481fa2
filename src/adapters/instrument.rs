//! Metrics and spans of store operations.

use tracing::Instrument as _;

use crate::{
    ports::StoreError,
    telemetry::{meters::StoreOperation, spans},
};

/// Runs an operation in a span, and measures its duration and outcome.
pub(super) async fn instrumented<T>(
    system: &'static str,
    operation: &'static str,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let mut measurement = StoreOperation::begin(system, operation);
    let span = spans::store(system, operation);
    let result = work.instrument(span.clone()).await;
    let error = result.as_ref().err().map(|error| error.kind().label());
    measurement.ended(error);
    if let Some(error) = error {
        spans::failed(&span, error);
    }
    result
}
