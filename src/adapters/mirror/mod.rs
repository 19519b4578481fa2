//! A mirror of a catalogue in Qdrant: all of its items, in this process's memory.
//!
//! Qdrant is the source of truth. Writes go there first; reads and searches are answered
//! from memory once the mirror is full. Whatever may have changed is read from Qdrant
//! again:
//!
//! * items that this process writes, before the write returns;
//! * items that other processes write, which they announce in a stream of Redis;
//! * all items, in a pass over the collection at intervals, and after anything that may
//!   have hidden a change: an outage of Qdrant, or a gap in the stream.
//!
//! # Why an old read does not stick
//! Reads are numbered when they begin, and a read is not applied to an item to which a
//! later one was applied. Each write is followed by a read that begins after the write was
//! acknowledged. So the last read that is applied to an item begins after the item's last
//! write.

mod changes;
mod items;
mod pass;
mod state;
mod store;
mod tasks;
mod upkeep;
mod writes;

pub use state::{CatalogMirror, MirrorOptions};
