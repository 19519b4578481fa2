//! Deliveries of RudderStack and Segment: the elements of their JSON, and what
//! each says in the API's words. What holds of an event is for the edge to
//! check, as it does for every other.

mod elements;
mod mapping;

pub use elements::{NoDelivery, elements};
pub use mapping::{Element, Left, Said, read};
