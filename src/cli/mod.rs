//! The commands besides `serve`.

pub mod catalog;
pub mod doctor;
pub mod healthcheck;
pub mod keys;
pub mod quickstart;
