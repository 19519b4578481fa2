//! `[[events]]`: the table of event types, as the entries of a ranking file.

use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};

use super::preset::Preset;
use crate::domain::meaning::{EventEntry, EventTable};

impl EventTable {
    /// The table of a preset, before the entries of a ranking file.
    pub(super) fn of(preset: Preset) -> Self {
        match preset {
            Preset::Recsys => Self::standard(),
            Preset::Reference => Self::empty(),
        }
    }
}

pub(super) fn serialize<S: Serializer>(
    events: &EventTable,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    events.entries().serialize(serializer)
}

/// Reads the entries alone. [`from_toml`](super::RankingConfig::from_toml) adds
/// them to the preset's table.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<EventTable, D::Error> {
    let entries: Vec<EventEntry> = Vec::deserialize(deserializer)?;
    EventTable::empty()
        .with_entries(&entries)
        .map_err(|wrong| D::Error::custom(wrong.join("; ")))
}
