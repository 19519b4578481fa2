//! The commands: each runs, prints, and returns the exit code of the process.

pub mod catalog;
pub mod doctor;
pub mod eval;
pub mod events;
mod exit;
pub mod healthcheck;
pub mod keys;
mod lines;
pub mod quickstart;
pub mod serve;
pub mod settings;
pub mod tune;
