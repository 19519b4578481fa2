//! The thin edge: parse, call the engine, convert. What a client may send is
//! in [`limits`], what it is told of a failure in `error.rs`.

mod admin;
mod catalog;
mod connections;
mod deadline;
mod error;
mod health;
pub mod limits;
mod load;
mod observe;
mod panics;
mod parse;
mod pulse;
mod recommender;
mod reply;
mod server;
mod settings;
pub mod tls;
mod wkt;

pub use admin::Admin;
pub use health::{LIVENESS, READINESS};
pub use server::{Port, ServeError, Stop, serve};
pub use settings::ServerSettings;
