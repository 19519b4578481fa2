//! Requests for what is known of an item.

use crate::{
    api::{error::ApiError, limits::Limits, parse::checks::Checks},
    domain::ids::ContentId,
    proto,
};

/// Reads a request for what is known of an item: the item, and the number of
/// neighbors.
pub(crate) fn item_signals(
    request: proto::GetItemSignalsRequest,
    limits: &Limits,
    default_limit: usize,
) -> Result<(ContentId, usize), ApiError> {
    let mut checks = Checks::new(limits);
    let item = checks.content_id("content_id", request.content_id);
    let limit = checks.limit(request.limit, default_limit);
    checks.finish(Some((item, limit)))
}
