//! What other users did: audiences, interest lists, neighbour rows and popularity.
//!
//! An [`InterestList`] holds the items that a user recently engaged with, an
//! [`Audience`] the users who recently engaged with an item. [`neighbor_row()`]
//! computes, from an audience and its users' lists, the items most associated with
//! an item; [`collaborative_scores`] scores the items in the rows of a user's list.
//! [`popularity()`] counts an audience with decay. [`RowChanges`] decides which rows
//! are due for a rebuild.

mod audience;
mod collaborative;
mod config;
mod hashed_id;
mod interest_list;
mod neighbor_row;
mod packed;
mod popular_items;
mod popularity;
mod row_changes;

pub use audience::{Audience, AudienceMember};
pub use collaborative::{CollaborativeScore, CollaborativeScores, collaborative_scores};
pub use config::AssociationsConfig;
pub use interest_list::{InterestEntry, InterestList, InterestStrength, position_of};
pub use neighbor_row::{NeighborRow, neighbor_row};
pub use packed::PackedError;
pub use popular_items::PopularItems;
pub use popularity::{popularity, popularity_at, popularity_key, share_of_largest};
pub use row_changes::{RowChanges, due_threshold};
