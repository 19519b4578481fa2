//! What other users did: audiences, interest lists, neighbour rows and popularity.
//!
//! An [`InterestList`] holds the items that a user lately engaged with, an
//! [`Audience`] the users who lately engaged with an item. [`neighbor_row`] makes
//! of an audience and its users' lists the items most associated with an item;
//! [`collaborative_scores`] makes of a user's list and its items' rows a score for
//! each associated item. [`popularity`] counts an audience with decay.
//! [`RowChanges`] says which rows are due to be built again.

mod audience;
mod collaborative;
mod config;
mod interest_list;
mod neighbor_row;
mod packed;
mod popularity;
mod row_changes;

pub use audience::{Audience, AudienceMember};
pub use collaborative::{CollaborativeScore, CollaborativeScores, collaborative_scores};
pub use config::AssociationsConfig;
pub use interest_list::{InterestEntry, InterestList, InterestStrength};
pub use neighbor_row::{NeighborRow, neighbor_row};
pub use packed::PackedError;
pub use popularity::{popularity, popularity_at, popularity_key, share_of_largest};
pub use row_changes::{RowChanges, due_threshold};
