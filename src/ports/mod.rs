//! The traits of the stores with their contracts, and the error of this layer. The
//! contract suites in `tests/it` check every implementation against these
//! contracts.

mod associations;
mod caller;
mod clock;
mod error;
mod events;
mod items;
mod models;

pub use associations::{
    AssociationStore, AudienceChanges, Engagement, ListSlot, MAX_POPULAR, MAX_READ_AGE,
    PopularityRanking, SavedList, StoredList, WriteOutcome,
};
pub use caller::{CallGuard, WaitingCaller};
pub use clock::{Clock, Deadline, Randomness};
pub use error::{StoreError, StoreErrorKind};
pub use events::{
    AppendOutcome, Appended, BufferSnapshot, ERASED_FOR, EVENT_ID_SPAN, Erasure, ErasureStart,
    EventBuffer, MAX_WRITE_AGE, ObservedBuffer, ObservedVersion, PAGE_EVENTS, PageStart,
    StoredPage, StoredText, Version,
};
pub use items::{
    Found, ItemPage, ItemRefusal, ItemStore, ItemTotal, ListPosition, ListedItem, PageRequest,
    Search, SearchOrder,
};
pub use models::{ModelSlot, ModelStore, Rank, SaveOutcome, StoredModel};
