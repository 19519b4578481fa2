//! The names of all metrics, and the buckets of the histograms.

/// Duration of calls by method and code: a histogram of seconds.
pub const RPC_DURATION: &str = "rpc_server_call_duration_seconds";
/// Duration of operations of Redis and Qdrant by type of error: a histogram of seconds.
pub const STORE_DURATION: &str = "db_client_operation_duration_seconds";
/// Connections of the pool to Redis, by state.
pub const DB_CONNECTIONS: &str = "db_client_connection_count";
/// Largest number of connections of that pool.
pub const DB_MAX_CONNECTIONS: &str = "db_client_connection_max";
/// Operations waiting for a connection of that pool.
pub const DB_PENDING_REQUESTS: &str = "db_client_connection_pending_requests";
/// Events received, by outcome.
pub const EVENTS: &str = "recsys_events_total";
/// Events received, by meaning.
pub const EVENT_MEANINGS: &str = "recsys_event_meanings_total";
/// Events of merged users, by outcome.
pub const MERGED_EVENTS: &str = "recsys_merged_events_total";
/// Stored values that cannot be decoded, by kind.
pub const UNREADABLE: &str = "recsys_unreadable_total";
/// Reads of models, by source.
pub const MODEL_READS: &str = "recsys_model_reads_total";
/// Reads without a usable model, by reason.
pub const MODEL_REBUILDS: &str = "recsys_model_rebuilds_total";
/// Models built, by outcome.
pub const MODEL_BUILDS: &str = "recsys_model_builds_total";
/// Items that models are built from, by whether the catalogue has them.
pub const MODEL_ITEMS: &str = "recsys_model_items_total";
/// Appends, by whether they started or joined a refresh.
pub const MODEL_REFRESHES: &str = "recsys_model_refreshes_total";
/// Time from receiving an event to saving a model that contains it: a histogram of
/// seconds.
pub const MODEL_LAG: &str = "recsys_model_lag_seconds";
/// Size of stored models: a histogram of bytes.
pub const MODEL_BYTES: &str = "recsys_model_bytes";
/// Candidates of a list, by generator: a histogram of counts.
pub const CANDIDATES: &str = "recsys_candidates";
/// Lists, by strategy.
pub const LISTS: &str = "recsys_lists_total";
/// Cold lists, by reason.
pub const COLD_LISTS: &str = "recsys_cold_lists_total";
/// Empty lists, by reason.
pub const EMPTY_LISTS: &str = "recsys_empty_lists_total";
/// Lists made without one of their inputs, by cause.
pub const DEGRADED: &str = "recsys_degraded_total";
/// Lists, by the outcome of their exploration.
pub const EXPLORATION: &str = "recsys_exploration_total";
/// Items of served lists, by placement and variant.
pub const PLACEMENT_ITEMS: &str = "recsys_placement_items_served_total";
/// Events that are attributed to lists, by placement, variant and meaning.
pub const PLACEMENT_EVENTS: &str = "recsys_placement_events_total";
/// Lookups in the caches of this process.
pub const CACHE_LOOKUPS: &str = "recsys_cache_lookups_total";
/// Memory of the caches.
pub const CACHE_BYTES: &str = "recsys_cache_bytes";
/// Entries of the caches.
pub const CACHE_ENTRIES: &str = "recsys_cache_entries";
/// Memory of the embedded stores.
pub const EMBEDDED_BYTES: &str = "recsys_embedded_bytes";
/// Memory limit of the embedded stores.
pub const EMBEDDED_MAX_BYTES: &str = "recsys_embedded_max_bytes";
/// Items that are mirrored from Qdrant.
pub const MIRROR_ITEMS: &str = "recsys_mirror_items";
/// Memory of the mirrored items.
pub const MIRROR_BYTES: &str = "recsys_mirror_bytes";
/// Catalogues with a mirror, by its state.
pub const MIRROR_CATALOGS: &str = "recsys_mirror_catalogs";
/// Time since a catalogue was last compared with Qdrant.
pub const MIRROR_COMPARISON_AGE: &str = "recsys_mirror_comparison_age_seconds";
/// Time from the announcement of a change by another process to its being read: a histogram
/// of seconds.
pub const MIRROR_LAG: &str = "recsys_mirror_lag_seconds";
/// Mirrored items that have changed, by how that was noticed.
pub const MIRROR_CHANGES: &str = "recsys_mirror_changes_total";
/// Calls in flight.
pub const CALLS_IN_FLIGHT: &str = "recsys_calls_in_flight";
/// Calls refused because of overload, by exhausted resource.
pub const SHED: &str = "recsys_calls_shed_total";
/// Calls refused for their credentials or quota, by reason.
pub const REFUSED: &str = "recsys_calls_refused_total";
/// Bytes of requests and replies in flight.
pub const BUFFERED_BYTES: &str = "recsys_buffered_bytes";
/// Open connections, by port.
pub const CONNECTIONS: &str = "recsys_connections";
/// Connections closed or refused by this process, by reason.
pub const CONNECTIONS_ENDED: &str = "recsys_connections_ended_total";
/// Refreshes of neighbour rows, by outcome.
pub const ROW_REFRESHES: &str = "recsys_association_refreshes_total";
/// Time from a row being due to its refresh: a histogram of seconds.
pub const ROW_LAG: &str = "recsys_association_lag_seconds";
/// Age of neighbour rows when a list reads them: a histogram of seconds.
pub const ROW_AGE: &str = "recsys_association_row_age_seconds";
/// Neighbour rows that are due.
pub const ROWS_DUE: &str = "recsys_association_rows_due";
/// Users of refreshed audiences: a histogram of counts.
pub const AUDIENCE_SIZE: &str = "recsys_audience_size";
/// Panics of calls and tasks.
pub const PANICS: &str = "recsys_panics_total";
/// Seconds since the runtime last ran a task.
pub const RUNTIME_SILENCE: &str = "recsys_runtime_silence_seconds";
/// Whether a dependency answers.
pub const DEPENDENCY_UP: &str = "recsys_dependency_up";
/// The running version.
pub const BUILD_INFO: &str = "recsys_build_info";
/// Elements of webhook deliveries, by outcome.
pub const WEBHOOK_ELEMENTS: &str = "recsys_webhook_events_total";
/// Duration of webhook requests by status: a histogram of seconds.
pub const HTTP_DURATION: &str = "http_server_request_duration_seconds";

/// All names except those of the process.
pub const ALL: [&str; 52] = [
    RPC_DURATION,
    STORE_DURATION,
    DB_CONNECTIONS,
    DB_MAX_CONNECTIONS,
    DB_PENDING_REQUESTS,
    EVENTS,
    EVENT_MEANINGS,
    MERGED_EVENTS,
    UNREADABLE,
    MODEL_READS,
    MODEL_REBUILDS,
    MODEL_BUILDS,
    MODEL_ITEMS,
    MODEL_REFRESHES,
    MODEL_LAG,
    MODEL_BYTES,
    CANDIDATES,
    LISTS,
    COLD_LISTS,
    EMPTY_LISTS,
    DEGRADED,
    EXPLORATION,
    PLACEMENT_ITEMS,
    PLACEMENT_EVENTS,
    CACHE_LOOKUPS,
    CACHE_BYTES,
    CACHE_ENTRIES,
    EMBEDDED_BYTES,
    EMBEDDED_MAX_BYTES,
    MIRROR_ITEMS,
    MIRROR_BYTES,
    MIRROR_CATALOGS,
    MIRROR_COMPARISON_AGE,
    MIRROR_LAG,
    MIRROR_CHANGES,
    CALLS_IN_FLIGHT,
    SHED,
    REFUSED,
    BUFFERED_BYTES,
    CONNECTIONS,
    CONNECTIONS_ENDED,
    ROW_REFRESHES,
    ROW_LAG,
    ROW_AGE,
    ROWS_DUE,
    AUDIENCE_SIZE,
    PANICS,
    RUNTIME_SILENCE,
    DEPENDENCY_UP,
    BUILD_INFO,
    WEBHOOK_ELEMENTS,
    HTTP_DURATION,
];

/// The metrics of the process, by Prometheus' usual names. Some systems lack a few.
pub const OF_THE_PROCESS: [&str; 8] = [
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_max_fds",
    "process_virtual_memory_bytes",
    "process_virtual_memory_max_bytes",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_threads",
];

/// Upper bounds of the histograms' buckets, in seconds.
pub const BUCKETS_SECONDS: [f64; 12] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
];
/// Upper bounds of the buckets of [`MODEL_LAG`], in seconds. Models are saved at
/// intervals, of a second unless set otherwise.
pub const BUCKETS_MODEL_LAG: [f64; 9] = [0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0];
/// Upper bounds of the buckets of [`MODEL_BYTES`]: powers of 4 from 1 KiB to 16 MiB.
pub const BUCKETS_MODEL_BYTES: [f64; 8] = [
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
];
/// Upper bounds of the buckets of [`CANDIDATES`].
pub const BUCKETS_CANDIDATES: [f64; 9] = [0.0, 1.0, 3.0, 10.0, 30.0, 100.0, 200.0, 400.0, 1_000.0];
/// Upper bounds of the buckets of [`ROW_AGE`], in seconds, up to the event window of 30
/// days.
pub const BUCKETS_ROW_AGE: [f64; 9] = [
    30.0,
    120.0,
    600.0,
    3_600.0,
    21_600.0,
    86_400.0,
    259_200.0,
    604_800.0,
    2_592_000.0,
];
/// Upper bounds of the buckets of [`ROW_LAG`], in seconds.
pub const BUCKETS_ROW_LAG: [f64; 9] = [0.1, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 600.0, 3_600.0];
