//! Limits on requests: a value at a limit is accepted; a value past it is refused with
//! the name of the field, and nothing is stored.

mod events;
mod items;
mod memory;
mod requests;
mod sizes;
