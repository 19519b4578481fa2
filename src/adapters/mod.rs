//! Implementations of the ports: in memory, in Redis, in Qdrant, and in
//! Qdrant with a mirror in memory. They never import the engine or the API.

mod event_list;
mod exact_search;
mod instrument;
pub mod memory;
mod memory_size;
pub mod mirror;
pub mod qdrant;
pub mod redis;
pub mod system;
