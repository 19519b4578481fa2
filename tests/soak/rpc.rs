//! The calls by name.

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rpc {
    IngestEvent,
    BatchIngestEvents,
    GetUserSignals,
    Recommend,
    DeleteUser,
    ExportUser,
    UpsertItems,
    GetItems,
    DeleteItems,
    /// Touches no store: what the machine itself takes.
    Health,
}

use Rpc::*;

pub const RPCS: [Rpc; 10] = [
    IngestEvent,
    BatchIngestEvents,
    GetUserSignals,
    Recommend,
    DeleteUser,
    ExportUser,
    UpsertItems,
    GetItems,
    DeleteItems,
    Health,
];
/// What stores events.
pub const APPENDS: &[Rpc] = &[IngestEvent, BatchIngestEvents];
/// What fails without the store of users' state.
pub const USER_STATE: &[Rpc] = &[
    IngestEvent,
    BatchIngestEvents,
    GetUserSignals,
    DeleteUser,
    ExportUser,
];
/// What fails without the catalogue.
pub const CATALOGUE: &[Rpc] = &[Recommend, UpsertItems, GetItems, DeleteItems];

impl Rpc {
    pub fn name(self) -> &'static str {
        match self {
            IngestEvent => "IngestEvent",
            BatchIngestEvents => "BatchIngestEvents",
            GetUserSignals => "GetUserSignals",
            Recommend => "Recommend",
            DeleteUser => "DeleteUser",
            ExportUser => "ExportUser",
            UpsertItems => "UpsertItems",
            GetItems => "GetItems",
            DeleteItems => "DeleteItems",
            Health => "Health/Check",
        }
    }
}
