//! Implementations of the ports. They never import the engine or gRPC.

mod footprint;
pub mod memory;
pub mod redis;
pub mod system;
