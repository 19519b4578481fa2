//! The commands besides `serve`.

pub mod catalog;
pub mod doctor;
pub mod events;
pub mod healthcheck;
pub mod keys;
mod lines;
pub mod quickstart;
