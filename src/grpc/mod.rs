//! The thin edge: parse, call the engine, convert. What a client may send is
//! in [`limits`], what it is told of a failure in `error.rs`.

mod admin;
mod catalog;
mod deadline;
pub(crate) mod error;
mod health;
pub mod limits;
mod observe;
mod panics;
pub(crate) mod parse;
mod recommender;
pub(crate) mod reply;
mod server;
mod wkt;

pub use admin::Admin;
pub use health::{LIVENESS, READINESS};
pub use server::{ServeError, ServerSettings, serve};
