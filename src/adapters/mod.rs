//! Implementations of the ports. They never import the engine or gRPC.

mod event_ids;
mod exact_search;
mod footprint;
pub mod memory;
mod observed;
pub mod qdrant;
pub mod redis;
pub mod system;
