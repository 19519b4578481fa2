//! The methods of the API.

/// Services whose calls are never refused: those that watch need no key, and
/// take nobody's turn.
const FREE: [&str; 2] = ["/grpc.health.v1.", "/grpc.reflection."];

/// The call that goes on for as long as its client has something to send.
pub(crate) const STREAM_INGEST: &str = "/recsys.v1.RecommenderService/StreamIngestEvents";

pub(crate) fn is_stream(path: &str) -> bool {
    path == STREAM_INGEST
}

pub(crate) fn is_free(path: &str) -> bool {
    FREE.iter().any(|service| path.starts_with(service))
}
