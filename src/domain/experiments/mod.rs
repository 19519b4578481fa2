//! Which variant a user gets, and ids of lists that events are attributed by.

mod assignment;
mod signed_id;

pub use assignment::{position, variant_at};
pub use signed_id::{
    ATTRIBUTION_WINDOW, ArmId, InvalidKeys, MAX_SIGNED_ID_BYTES, RequestIdKeys, SignedId,
};
