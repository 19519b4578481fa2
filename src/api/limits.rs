//! What a client may send.

use std::time::Duration;

use crate::parsers::{above_zero, at_least_one, parse_duration};

/// Limits on requests. One that passes a limit is refused whole, except in a
/// batch, where only the element is.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// Largest request message, in bytes (UpsertItems has its own)
    #[arg(long, global = true, env = "RECSYS_MAX_REQUEST_BYTES", value_name = "BYTES",
          value_parser = at_least_one, default_value_t = Self::DEFAULT.max_request_bytes)]
    pub max_request_bytes: usize,
    /// Largest request message of the catalogue service, in bytes
    #[arg(long, global = true, env = "RECSYS_MAX_CATALOG_REQUEST_BYTES", value_name = "BYTES",
          value_parser = at_least_one, default_value_t = Self::DEFAULT.max_catalog_request_bytes)]
    pub max_catalog_request_bytes: usize,
    /// Events in a batch
    #[arg(long, global = true, env = "RECSYS_MAX_BATCH_EVENTS", value_name = "N",
          value_parser = at_least_one, default_value_t = Self::DEFAULT.max_batch_events)]
    pub max_batch_events: usize,
    /// Items in a request of the catalogue service
    #[arg(long, global = true, env = "RECSYS_MAX_CATALOG_ITEMS", value_name = "N",
          value_parser = at_least_one, default_value_t = Self::DEFAULT.max_catalog_items)]
    pub max_catalog_items: usize,
    /// Longest user id, in bytes
    #[arg(long, global = true, env = "RECSYS_MAX_USER_ID_BYTES", value_name = "BYTES",
          value_parser = at_least_one, default_value_t = Self::DEFAULT.max_user_id_bytes)]
    pub max_user_id_bytes: usize,
    /// Longest id of anything else, in bytes; also tags and labels
    #[arg(long, global = true, env = "RECSYS_MAX_ID_BYTES", value_name = "BYTES",
          value_parser = at_least_one, default_value_t = Self::DEFAULT.max_id_bytes)]
    pub max_id_bytes: usize,
    /// Longest event type, in bytes
    #[arg(long, global = true, env = "RECSYS_MAX_EVENT_TYPE_BYTES", value_name = "BYTES",
          value_parser = at_least_one, default_value_t = Self::DEFAULT.max_event_type_bytes)]
    pub max_event_type_bytes: usize,
    /// Impressions in an event
    #[arg(long, global = true, env = "RECSYS_MAX_IMPRESSIONS", value_name = "N",
          value_parser = at_least_one, default_value_t = Self::DEFAULT.max_impressions)]
    pub max_impressions: usize,
    /// Largest stored event, in bytes
    #[arg(long, global = true, env = "RECSYS_MAX_EVENT_BYTES", value_name = "BYTES",
          value_parser = at_least_one, default_value_t = Self::DEFAULT.max_event_bytes)]
    pub max_event_bytes: usize,
    /// Largest item, in bytes of its message
    #[arg(long, global = true, env = "RECSYS_MAX_ITEM_BYTES", value_name = "BYTES",
          value_parser = at_least_one, default_value_t = Self::DEFAULT.max_item_bytes)]
    pub max_item_bytes: usize,
    /// How far an event's time may be ahead of this server's clock
    #[arg(long, global = true, env = "RECSYS_MAX_EVENT_AHEAD", value_name = "DURATION",
          value_parser = parse_duration, default_value = "5m")]
    pub max_event_ahead: Duration,
    /// Longest dwell time, in seconds
    #[arg(long, global = true, env = "RECSYS_MAX_DWELL_SECONDS", value_name = "SECONDS", value_parser = above_zero,
          default_value_t = Self::DEFAULT.max_dwell_seconds)]
    pub max_dwell_seconds: f64,
    /// Items in a list
    #[arg(long, global = true, env = "RECSYS_MAX_LIMIT", value_name = "N",
          value_parser = at_least_one, default_value_t = Self::DEFAULT.max_limit)]
    pub max_limit: usize,
    /// Ids that a request may exclude
    #[arg(long, global = true, env = "RECSYS_MAX_EXCLUDE_IDS", value_name = "N",
          value_parser = at_least_one, default_value_t = Self::DEFAULT.max_exclude_ids)]
    pub max_exclude_ids: usize,
    /// Entries of each of must, must_not and content_types, and of an item's
    /// tags, years and places
    #[arg(long, global = true, env = "RECSYS_MAX_TAGS", value_name = "N",
          value_parser = at_least_one, default_value_t = Self::DEFAULT.max_tags)]
    pub max_tags: usize,
}

impl Limits {
    const DEFAULT: Self = Self {
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
        max_tags: 200,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
