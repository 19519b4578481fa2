//! The pure core: events, items, user models, and how lists are ranked.
//!
//! Nothing here reads a clock, the environment, a file or a socket, or holds
//! global state. The same input gives the same output, in whatever order events
//! were delivered.

pub mod answers;
pub mod associations;
pub mod catalogue_line;
pub mod encoded_form;
pub mod event;
pub mod event_member;
pub mod experiments;
pub mod filter;
pub mod geo;
pub mod ids;
pub mod item;
pub mod item_counts;
pub mod item_update;
pub mod json;
pub mod meaning;
pub mod ranking;
pub mod ranking_config;
pub mod restriction;
pub mod signals;
pub mod tags;
pub mod time;
pub mod toml_fault;
pub mod user_signals;
pub mod vector;
