//! The commands besides `serve`.

pub mod healthcheck;
pub mod quickstart;
