//! What a request costs, read from its bytes before it is decoded. A decoded message can
//! take a hundred times the memory of its bytes: an empty event takes 2 bytes on the wire
//! and 400 in memory.

mod cost;
mod reader;
mod shape;

pub(crate) use cost::cost;
pub(crate) use reader::{Malformed, WireValue, next_field};
pub(crate) use shape::{Shape, Shapes};
