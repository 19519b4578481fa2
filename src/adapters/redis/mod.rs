//! Users' state in Redis 7, shared with the reference engine: `evt:<user_id>`
//! (a sorted set of events) and `umodel:<user_id>` (the model in JSON). And which items
//! of the catalogue processes have changed.
//!
//! Every script touches one key, so that the keys of a user may live in different
//! slots of a cluster.

mod acl_probe;
mod address;
mod advice;
mod append;
mod appender;
mod associations;
mod buffer_cache;
mod buffer_copy;
mod buffer_store;
mod connection;
mod dial;
mod erasure;
mod error;
mod events;
mod examine;
mod expiry;
mod item_changes;
mod key_scan;
mod keys;
mod model_cache;
pub mod model_json;
mod models;
mod pool;
mod redacted_error;
mod script;
mod script_probe;
mod server_clock;
mod settings;
mod setup_error;
mod user_cache;
mod user_turns;

pub use acl_probe::AclDenial;
pub use advice::{Concern, advise, advise_associations};
pub use associations::RedisAssociationStore;
pub use events::{EventBufferOptions, RedisEventBuffer};
pub use examine::{RedisExamination, RedisMaster, examine};
pub use item_changes::{ChangeCursor, ChangePage, ItemChanges};
pub use key_scan::{KeyScan, ScanNode, ScannedKind, ScannedPage};
pub use models::{ModelStoreOptions, RedisModelStore};
pub use pool::RedisPool;
pub use settings::{RedisMode, RedisSettings};
pub use setup_error::RedisSetupError;
