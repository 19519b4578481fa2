//! Deliveries of RudderStack and Segment over HTTP.

mod bodies;
mod deliveries;
mod failures;
mod mapping;
mod program;
