//! The thin edge: parse, call the engine, convert. What a client may send is
//! in [`limits`], what it is told of a failure in `error.rs`.

mod access;
mod admin;
mod browser;
mod call;
mod catalog;
mod connections;
mod deadline;
pub(crate) mod error;
mod feed;
mod health;
pub mod limits;
mod load;
mod log_filter;
mod observe;
mod panics;
pub(crate) mod parse;
mod pulse;
mod recommender;
pub(crate) mod reply;
mod request_id;
mod server;
mod settings;
mod signals;
pub mod tls;
mod webhook;
mod wkt;

pub use access::{Access, Directory};
pub use admin::Admin;
pub use browser::{BrowserSettings, Origins};
pub use health::{LIVENESS, READINESS};
pub use log_filter::LogFilter;
pub use server::{Port, ServeError, Stop, serve};
pub use settings::ServerSettings;
pub use webhook::{MAX_CONNECTIONS as MAX_WEBHOOK_CONNECTIONS, Webhook, WebhookSettings};
pub(crate) use wkt::{optional_struct, proto_timestamp};

/// Services whose calls are never refused: those that watch need no key, and
/// take nobody's turn.
const FREE: [&str; 2] = ["/grpc.health.v1.", "/grpc.reflection."];

/// The call that goes on for as long as its client has something to send.
const STREAM_INGEST: &str = "/recsys.v1.RecommenderService/StreamIngestEvents";

fn is_stream(path: &str) -> bool {
    path == STREAM_INGEST
}

fn is_free(path: &str) -> bool {
    FREE.iter().any(|service| path.starts_with(service))
}
