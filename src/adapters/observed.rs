//! Operations of stores, as those who watch see them.

use tracing::Instrument as _;

use crate::{
    ports::StoreError,
    telemetry::{meters::StoreOperation, spans},
};

/// Does it, and notes how long it took and how it ended.
pub(super) async fn observed<T>(
    system: &'static str,
    operation: &'static str,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let mut noted = StoreOperation::begin(system, operation);
    let span = spans::store(system, operation);
    let done = work.instrument(span.clone()).await;
    let error = done.as_ref().err().map(|error| error.kind().label());
    noted.ended(error);
    if let Some(error) = error {
        spans::failed(&span, error);
    }
    done
}
