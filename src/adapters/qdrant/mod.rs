//! The catalogue in Qdrant: one collection, a point for each item. Uses the
//! client's generated code on connections of our own: the client's wrapper
//! retries and reconnects in ways that no deadline bounds.

mod attribute_index;
mod collection;
mod error;
mod examine;
mod fill_tags;
mod filter;
pub(crate) mod ids;
mod item_cache;
mod items;
mod list;
mod lookup;
pub(crate) mod payload;
mod pool;
mod query;
mod retry;
mod search;
mod settings;
mod store;
mod tag_points;
mod tag_vector;
mod uncached;
mod update;
mod write;

pub use attribute_index::{AttributeIndex, AttributeType};
pub use examine::{CollectionReport, QdrantExamination, TagSearchReport, examine};
pub use fill_tags::TagVectors;
pub(crate) use ids::PointKey;
pub use pool::{QdrantPool, QdrantSetupError};
pub use settings::{CatalogMirrorMode, QdrantSettings};
pub use store::{QdrantItemOptions, QdrantItemStore};
pub(crate) use uncached::{PointItem, ScrollOffset, VectorShape};
pub use write::PutOutcome;
