//! A user's current model.

pub(crate) mod refresh;
pub(crate) mod signals;
