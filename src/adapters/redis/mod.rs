//! Users' state in Redis 7, shared with the reference engine: `evt:<user_id>`
//! (a sorted set of events) and `umodel:<user_id>` (the model in JSON).
//!
//! Every script touches one key, so that the two keys of a user may live in
//! different slots of a cluster.

mod acl_probe;
mod address;
mod advice;
mod connection;
mod dial;
pub(crate) mod events;
mod examine;
mod kept;
mod keys;
mod known;
mod known_models;
pub mod model_json;
mod models;
mod script;
mod server_clock;
mod settings;
mod told;

pub use acl_probe::AclDenial;
pub use advice::{Concern, advise};
pub use connection::{RedisPool, RedisSetupError};
pub use events::RedisEventBuffer;
pub use examine::{RedisExamination, RedisMaster, examine};
pub use models::RedisModelStore;
pub use settings::{RedisMode, RedisSettings};
