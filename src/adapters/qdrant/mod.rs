//! The catalogue in Qdrant: one collection, a point an item. Spoken to through
//! the client's generated code, on connections of our own: its wrapper retries
//! and reconnects in ways that no deadline bounds.

mod cache;
mod channel;
mod collection;
mod examine;
pub(crate) mod ids;
mod items;
pub(crate) mod payload;
mod query;
mod reads;
mod resend;
mod searches;
mod settings;
mod writes;

pub use channel::QdrantSetupError;
pub use examine::{CollectionReport, QdrantExamination, examine};
pub use items::QdrantItemStore;
pub use settings::QdrantSettings;
pub use writes::Put;
