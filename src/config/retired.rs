//! Environment variables that earlier versions read and this one does not.

const FIXED: &str = "its value is fixed now";

/// The variables, each with what replaces it.
const RETIRED: [(&str, &str); 20] = [
    ("QDRANT_CONNECTIONS", FIXED),
    ("QDRANT_CONNECT_TIMEOUT", FIXED),
    ("RECSYS_CORS_MAX_AGE", FIXED),
    ("RECSYS_MAX_BATCH_EVENTS", "RECSYS_LIMITS=batch_events=N"),
    ("RECSYS_MAX_CATALOG_ITEMS", "RECSYS_LIMITS=catalog_items=N"),
    (
        "RECSYS_MAX_CATALOG_REQUEST_BYTES",
        "RECSYS_LIMITS=catalog_request_bytes=N",
    ),
    ("RECSYS_MAX_CONNECTION_AGE", FIXED),
    ("RECSYS_MAX_DWELL_SECONDS", "RECSYS_LIMITS=dwell_seconds=N"),
    ("RECSYS_MAX_EVENT_AHEAD", "RECSYS_LIMITS=event_ahead=5m"),
    ("RECSYS_MAX_EVENT_BYTES", "RECSYS_LIMITS=event_bytes=N"),
    (
        "RECSYS_MAX_EVENT_TYPE_BYTES",
        "RECSYS_LIMITS=event_type_bytes=N",
    ),
    ("RECSYS_MAX_EXCLUDE_IDS", "RECSYS_LIMITS=exclude_ids=N"),
    ("RECSYS_MAX_ID_BYTES", "RECSYS_LIMITS=id_bytes=N"),
    ("RECSYS_MAX_IMPRESSIONS", "RECSYS_LIMITS=impressions=N"),
    ("RECSYS_MAX_ITEM_BYTES", "RECSYS_LIMITS=item_bytes=N"),
    ("RECSYS_MAX_LIMIT", "RECSYS_LIMITS=limit=N"),
    ("RECSYS_MAX_REQUEST_BYTES", "RECSYS_LIMITS=request_bytes=N"),
    ("RECSYS_MAX_TAGS", "RECSYS_LIMITS=tags=N"),
    ("RECSYS_MAX_USER_ID_BYTES", "RECSYS_LIMITS=user_id_bytes=N"),
    ("REDIS_MAX_CONNECTION_AGE", FIXED),
];

/// The names of the retired variables.
pub(super) fn retired_names() -> impl Iterator<Item = &'static str> {
    RETIRED.iter().map(|(name, _)| *name)
}

/// The retired variables that are set, as one text; `None` if there are none.
#[must_use]
pub fn retired_variables(is_set: impl Fn(&str) -> bool) -> Option<String> {
    let set: Vec<String> = RETIRED
        .iter()
        .filter(|(name, _)| is_set(name))
        .map(|(name, instead)| format!("{name} ({instead})"))
        .collect();
    (!set.is_empty()).then(|| set.join(", "))
}
