//! Deliveries of RudderStack and Segment over HTTP.

mod bodies;
mod deliveries;
mod failures;
mod field;
mod mapping;
mod merges;
mod program;
