//! The pure core: what the words mean and how a list is made.
//!
//! Nothing here reads a clock, an environment, a file or a socket. Same input,
//! same output, whatever the order of deliveries.

pub mod braced;
pub mod catalogue_line;
pub mod event;
pub mod geo;
pub mod ids;
pub mod item;
pub mod member;
pub mod nesting;
pub mod ranking;
pub mod ranking_config;
pub mod restriction;
pub mod shared_text;
pub mod signals;
pub mod tags;
pub mod time;
pub mod user_signals;
pub mod vector;
