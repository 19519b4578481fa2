//! Implementations of the ports. They never import the engine or gRPC.

pub mod memory;
pub mod redis;
pub mod system;
