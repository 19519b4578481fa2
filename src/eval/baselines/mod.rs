//! What lists are compared with: simple methods that know nothing of the
//! catalogue's contents and run in the same replay.

mod co_occurrence;
mod popular;
mod random;

pub use co_occurrence::CoOccurrence;
pub use popular::Popular;
pub use random::RandomItems;
