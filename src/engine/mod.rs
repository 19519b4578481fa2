//! The use cases: ingest events, recommend, read, merge and erase users, keep the
//! catalogue.
//!
//! The engine depends on the domain and the ports, not on Redis, Qdrant or gRPC.
//! Work that must not be interrupted when a caller goes away, such as an append
//! with its refresh, runs in its own task; [`Engine::finish`] waits for these.

mod activity;
mod associations;
mod catalog;
mod error;
mod experiments;
mod explain;
mod handle;
mod ingest;
mod item_reader;
mod item_signals;
mod lists;
mod merge;
mod models;
mod receive;
mod tasks;
mod users;

pub use activity::{ActivityReport, TypeActivity};
pub use associations::{AssociationSettings, ItemSignals};
pub use error::{Dependency, EngineError};
pub use experiments::{ArmResult, Treatment};
pub use explain::UserExplanation;
pub use handle::{Engine, EngineSettings, Ports};
pub use ingest::Ingested;
pub use lists::{
    ColdReason, Deadlines, Degradation, EmptyReason, Generator, ListKind, ListRequest,
    PopularityWindow, Recommendation, SimilarityBasis, Strategy,
};
pub use merge::MergedUsers;
pub use models::SignalsSource;
pub use receive::Received;
pub use users::UserExport;

/// Starts the engine's metrics at 0, so that their first increases are visible. To
/// be called when a recorder is installed.
pub fn start_metrics() {
    models::start_metrics();
    lists::start_metrics();
    receive::start_metrics();
}
