//! Stores in this process's memory, for development, demonstrations and tests.
//! Same semantics as the real stores, bounded in memory, and lost when the process
//! ends.

mod associations;
mod budget;
mod events;
mod index;
mod items;
mod models;
mod shards;
mod shared_scans;
mod vocabulary;

pub use associations::MemoryAssociationStore;
pub use budget::Budget;
pub use events::MemoryEventBuffer;
pub use items::{CatalogueBudget, MemoryItemStore};
pub use models::MemoryModelStore;
