//! `preset`: the defaults of all other keys.

use serde::{Deserialize, Serialize};

/// The defaults of a ranking file, and how the user model is built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Event types have a meaning, what other users did counts, and lists favor
    /// relevance over diversity.
    #[default]
    Recsys,
    /// The models and lists of the reference engine.
    Reference,
}
