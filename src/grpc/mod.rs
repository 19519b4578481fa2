//! The thin edge: parse, call the engine, convert. What a client may send is
//! in [`limits`], what it is told of a failure in `error.rs`.

mod access;
mod admin;
mod call;
mod catalog;
mod connections;
mod deadline;
pub(crate) mod error;
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
pub mod tls;
mod wkt;

pub use access::{Access, Directory};
pub use admin::Admin;
pub use health::{LIVENESS, READINESS};
pub use log_filter::LogFilter;
pub use server::{Port, ServeError, Stop, serve};
pub use settings::ServerSettings;

/// Services whose calls are never refused: those that watch need no key, and
/// take nobody's turn.
const FREE: [&str; 2] = ["/grpc.health.v1.", "/grpc.reflection."];

fn is_free(path: &str) -> bool {
    FREE.iter().any(|service| path.starts_with(service))
}
