//! What events say about their items.
//!
//! The ranking file's `[[events]]` table gives event types a strength
//! ([`EventTable`]), independent of a type's spelling ([`NormalForm`]).
//! [`EventMeaning`] classifies one event. [`ExplicitStrength`] sums up the events
//! of one item, in buffer order, into the item's explicit strength.

mod defaults;
mod event_meaning;
mod explicit;
mod normal_form;
mod rule;
mod table;

pub use event_meaning::EventMeaning;
pub use explicit::{ExplicitStrength, strength};
pub use normal_form::NormalForm;
pub use rule::{EventEntry, EventRule, rating_strength};
pub use table::EventTable;
