//! Limits on what clients may send.

use std::{fmt, str::FromStr, time::Duration};

use prost::Name as _;

use crate::{
    parsers::{above_zero, at_least_one, parse_duration},
    proto::{UpdateItemsRequest, UpsertItemsRequest},
};

/// Limits on requests. A request beyond a limit is refused whole, except in a
/// batch, where only the element is refused.
///
/// As text: `NAME=VALUE` pairs separated by commas; a limit that is not named has
/// its default.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of a request message of the recommender service.
    pub max_request_bytes: usize,
    /// Bytes of a request message of the catalogue service.
    pub max_catalog_request_bytes: usize,
    /// Events of a batch.
    pub max_batch_events: usize,
    /// Items of a request of the catalogue service.
    pub max_catalog_items: usize,
    /// Bytes of a user id.
    pub max_user_id_bytes: usize,
    /// Bytes of any other id, of a tag's facet and of its label.
    pub max_id_bytes: usize,
    /// Bytes of an event type.
    pub max_event_type_bytes: usize,
    /// Impressions of an event.
    pub max_impressions: usize,
    /// Bytes of an event as it is stored.
    pub max_event_bytes: usize,
    /// Bytes of an item's message.
    pub max_item_bytes: usize,
    /// How far an event's time may be ahead of the server's clock.
    pub max_event_ahead: Duration,
    /// Dwell time of an event, in seconds.
    pub max_dwell_seconds: f64,
    /// Items of a list.
    pub max_limit: usize,
    /// Ids that a request may exclude.
    pub max_exclude_ids: usize,
    /// Items at hand of a request.
    pub max_context_ids: usize,
    /// Boosts of a request.
    pub max_boosts: usize,
    /// Entries of each of `must`, `must_not` and `content_types`, and of an item's
    /// tags, years and places.
    pub max_tags: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_request_bytes: 4 << 20,
            max_catalog_request_bytes: 16 << 20,
            max_batch_events: 1_000,
            max_catalog_items: 500,
            max_user_id_bytes: 256,
            max_id_bytes: 512,
            max_event_type_bytes: 128,
            max_impressions: 1_000,
            max_event_bytes: 64 << 10,
            max_item_bytes: 256 << 10,
            max_event_ahead: Duration::from_secs(300),
            max_dwell_seconds: 86_400.0,
            max_limit: 100,
            max_exclude_ids: 10_000,
            max_context_ids: 100,
            max_boosts: 10,
            max_tags: 200,
        }
    }
}

impl Limits {
    /// The counts, by the names that they have as text.
    fn counts(&mut self) -> [(&'static str, &mut usize); 15] {
        [
            ("request_bytes", &mut self.max_request_bytes),
            ("catalog_request_bytes", &mut self.max_catalog_request_bytes),
            ("batch_events", &mut self.max_batch_events),
            ("catalog_items", &mut self.max_catalog_items),
            ("user_id_bytes", &mut self.max_user_id_bytes),
            ("id_bytes", &mut self.max_id_bytes),
            ("event_type_bytes", &mut self.max_event_type_bytes),
            ("impressions", &mut self.max_impressions),
            ("event_bytes", &mut self.max_event_bytes),
            ("item_bytes", &mut self.max_item_bytes),
            ("limit", &mut self.max_limit),
            ("exclude_ids", &mut self.max_exclude_ids),
            ("context_ids", &mut self.max_context_ids),
            ("boosts", &mut self.max_boosts),
            ("tags", &mut self.max_tags),
        ]
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "event_ahead" => self.max_event_ahead = parse_duration(value)?,
            "dwell_seconds" => self.max_dwell_seconds = above_zero(value)?,
            _ => {
                let mut counts = self.counts().into_iter();
                let Some((_, count)) = counts.find(|(known, _)| *known == name) else {
                    return Err(format!("no such limit; there are {}", Self::default()));
                };
                *count = at_least_one(value)?;
            }
        }
        Ok(())
    }
}

/// Most bytes of a request message of this full name. Only writes of whole items may be
/// larger than the requests of the recommender service.
pub(crate) fn message_bytes(limits: &Limits, name: &str) -> usize {
    let writes_items = [
        UpsertItemsRequest::full_name(),
        UpdateItemsRequest::full_name(),
    ];
    if writes_items.iter().any(|request| request == name) {
        limits.max_catalog_request_bytes
    } else {
        limits.max_request_bytes
    }
}

/// Most elements of a repeated field of a request, by the field's name. `None`: not
/// limited here. Fields of one name have one limit in all requests.
pub(crate) fn elements(limits: &Limits, field: &str) -> Option<usize> {
    match field {
        "events" => Some(limits.max_batch_events),
        "items" | "updates" | "content_ids" => Some(limits.max_catalog_items),
        "must" | "must_not" | "any_of" | "content_types" => Some(limits.max_tags),
        "exclude_ids" => Some(limits.max_exclude_ids),
        "context_ids" => Some(limits.max_context_ids),
        "boosts" => Some(limits.max_boosts),
        _ => None,
    }
}

impl FromStr for Limits {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut limits = Self::default();
        let pairs = text.split(',').map(str::trim);
        for pair in pairs.filter(|pair| !pair.is_empty()) {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| format!("{pair}: give NAME=VALUE"))?;
            let (name, value) = (name.trim(), value.trim());
            limits
                .set(name, value)
                .map_err(|error| format!("{name}: {error}"))?;
        }
        Ok(limits)
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in self.clone().counts() {
            write!(f, "{name}={count}, ")?;
        }
        let (ahead, dwell) = (self.max_event_ahead.as_secs_f64(), self.max_dwell_seconds);
        write!(f, "event_ahead={ahead}s, dwell_seconds={dwell}")
    }
}

#[cfg(test)]
mod tests {
    use super::Limits;

    #[test]
    fn limits_are_read_as_they_are_written() {
        let default = Limits::default();
        assert_eq!(default.to_string().parse(), Ok(default.clone()));
        assert_eq!("".parse(), Ok(default.clone()));
        let expected = Limits {
            max_limit: 200,
            max_event_ahead: std::time::Duration::from_millis(1_500),
            max_dwell_seconds: 0.5,
            ..default
        };
        let text = " limit=200, event_ahead = 1500ms,dwell_seconds=0.5,";
        assert_eq!(text.parse(), Ok(expected.clone()));
        assert_eq!(expected.to_string().parse(), Ok(expected));
    }

    #[test]
    fn a_wrong_limit_is_refused_with_its_name() {
        for (text, expected) in [
            ("limit", "limit: give NAME=VALUE"),
            ("limit=0", "limit: must be a whole number, at least 1"),
            ("event_ahead=5", "event_ahead: give a number with a unit"),
            (
                "max_limit=5",
                "max_limit: no such limit; there are request_bytes=",
            ),
        ] {
            let error = text.parse::<Limits>().unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
