//! Everything in this process's memory: for a laptop, a demonstration, a test.
//! Same semantics as the real stores, bounded, and gone when the process ends.

mod budget;
mod catalogue_file;
mod events;
mod index;
mod items;
mod models;
mod shards;

pub use budget::Budget;
pub use catalogue_file::{CatalogueFileError, parse_catalogue, sample_catalogue};
pub use events::MemoryEventBuffer;
pub use items::MemoryItemStore;
pub use models::MemoryModelStore;
