//! Synthetic logs with a known truth: the events of a simulated shop.
//!
//! Users have interests that drift, items have complements that are bought with
//! them, popularity is skewed and moves with launches, a front page shows popular
//! items and what stands first is seen first. Some events are delivered twice,
//! some late, and some visitors log in and get another user id. Each choice of an
//! item is drawn from a mixture of these causes that is known exactly
//! ([`choices`]), so that the best possible list and its hit rate are known, too.
//!
//! The same settings give the same log.

pub mod choices;
mod generator;
mod items;
mod settings;
mod write;

pub use generator::{Choice, World, generate};
pub use settings::{Causes, WorldSettings};
pub use write::{catalogue_lines, event_lines};
