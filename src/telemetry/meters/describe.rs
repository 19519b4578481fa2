//! The help texts of the metrics, and their initial values.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};

use super::{
    handles,
    names::{
        AUDIENCE_SIZE, BUFFERED_BYTES, BUILD_INFO, CACHE_BYTES, CACHE_ENTRIES, CACHE_LOOKUPS,
        CALLS_IN_FLIGHT, CANDIDATES, COLD_LISTS, CONNECTIONS, CONNECTIONS_ENDED, DB_CONNECTIONS,
        DB_MAX_CONNECTIONS, DB_PENDING_REQUESTS, DEGRADED, DEPENDENCY_UP, EMBEDDED_BYTES,
        EMBEDDED_MAX_BYTES, EMPTY_LISTS, EVENT_MEANINGS, EVENTS, EXPLORATION, HTTP_DURATION, LISTS,
        MERGED_EVENTS, MIRROR_BYTES, MIRROR_CATALOGS, MIRROR_CHANGES, MIRROR_COMPARISON_AGE,
        MIRROR_ITEMS, MIRROR_LAG, MODEL_BUILDS, MODEL_BYTES, MODEL_ITEMS, MODEL_LAG, MODEL_READS,
        MODEL_REBUILDS, MODEL_REFRESHES, PANICS, PLACEMENT_EVENTS, PLACEMENT_ITEMS, REFUSED,
        ROW_AGE, ROW_LAG, ROW_REFRESHES, ROWS_DUE, RPC_DURATION, RUNTIME_SILENCE, SHED,
        STORE_DURATION, UNREADABLE, WEBHOOK_ELEMENTS,
    },
    record::{buffered_bytes, calls_in_flight, http_duration, rows_due},
    series::{
        AUDIENCES, BUILDS, BUILT_FROM, BY_KIND, BY_OUTCOME, BYTES, DELIVERED, ENDED, EXPLORED, LAG,
        LOOKUPS, MADE, MERGED, MIRRORED, MIRRORS_LAG, REBUILDS, REFRESHES, REFUSED_CALLS, ROWS,
        ROWS_AGE, ROWS_LAG, SHED_CALLS,
    },
};

/// Registers the help texts, and all counters with 0, so that their first increase is
/// visible.
pub(crate) fn describe() {
    handles::enable();
    of_stores();
    of_models();
    of_lists();
    of_the_server();
    init();
}

fn of_stores() {
    describe_histogram!(
        STORE_DURATION,
        Unit::Seconds,
        "Operations of stores, by type of error"
    );
    describe_gauge!(DB_CONNECTIONS, "Connections of the pool, by state");
    describe_gauge!(
        DB_MAX_CONNECTIONS,
        "Largest number of connections of the pool"
    );
    describe_gauge!(
        DB_PENDING_REQUESTS,
        "Operations waiting for a connection of the pool"
    );
    describe_counter!(
        UNREADABLE,
        "Stored events and models that could not be read"
    );
    describe_counter!(
        CACHE_LOOKUPS,
        "Lookups of items, event buffers and user models in the caches of this process, by outcome"
    );
    describe_gauge!(CACHE_BYTES, Unit::Bytes, "Memory of the cached entries");
    describe_gauge!(CACHE_ENTRIES, "Number of cached entries");
    describe_gauge!(EMBEDDED_BYTES, Unit::Bytes, "Memory of the embedded stores");
    describe_gauge!(
        EMBEDDED_MAX_BYTES,
        Unit::Bytes,
        "Memory limit of the embedded stores"
    );
    describe_gauge!(MIRROR_ITEMS, "Items that are mirrored from Qdrant");
    describe_gauge!(
        MIRROR_BYTES,
        Unit::Bytes,
        "Estimated memory of mirrored items"
    );
    describe_gauge!(MIRROR_CATALOGS, "Catalogues with a mirror, by its state");
    describe_gauge!(
        MIRROR_COMPARISON_AGE,
        Unit::Seconds,
        "Time since a mirrored catalogue was compared with Qdrant"
    );
    describe_histogram!(
        MIRROR_LAG,
        Unit::Seconds,
        "Time from the announcement of a changed item to its being read"
    );
    describe_counter!(
        MIRROR_CHANGES,
        "Changes of mirrored items, by how they were noticed"
    );
    describe_gauge!(DEPENDENCY_UP, "1 if a dependency answers, otherwise 0");
}

fn of_models() {
    describe_counter!(EVENTS, "Events received, by outcome");
    describe_counter!(MERGED_EVENTS, "Events of merged users, by outcome");
    describe_counter!(EVENT_MEANINGS, "Events received, by what they say");
    describe_counter!(
        MODEL_ITEMS,
        "Items that models are built from, by whether the catalogue has them"
    );
    describe_counter!(MODEL_READS, "Reads of user models, by source");
    describe_counter!(MODEL_REBUILDS, "Reads without a usable model, by reason");
    describe_counter!(MODEL_BUILDS, "Models built, by outcome");
    describe_counter!(
        MODEL_REFRESHES,
        "Refreshes of a user's model after an append, by whether the append started or joined it"
    );
    describe_histogram!(
        MODEL_LAG,
        Unit::Seconds,
        "Time from receiving an event to saving a model that contains it"
    );
    describe_histogram!(MODEL_BYTES, Unit::Bytes, "Size of stored models");
}

fn of_lists() {
    describe_counter!(LISTS, "Lists, by strategy");
    describe_histogram!(CANDIDATES, "Candidates of a list, by generator");
    describe_counter!(COLD_LISTS, "Cold lists, by reason");
    describe_counter!(EMPTY_LISTS, "Empty lists, by reason");
    describe_counter!(DEGRADED, "Lists made without one of their inputs, by cause");
    describe_counter!(
        ROW_REFRESHES,
        "Refreshes of the rows of items' neighbours, by outcome"
    );
    describe_histogram!(
        ROW_LAG,
        Unit::Seconds,
        "Time from a row of neighbours being due to its refresh"
    );
    describe_histogram!(
        ROW_AGE,
        Unit::Seconds,
        "Age of rows of neighbours when a list reads them"
    );
    describe_gauge!(ROWS_DUE, "Rows of neighbours that are due");
    describe_histogram!(AUDIENCE_SIZE, "Users of refreshed items' audiences");
    describe_counter!(EXPLORATION, "Exploration items of lists, by outcome");
    describe_counter!(
        PLACEMENT_ITEMS,
        "Items of served lists, by placement and variant"
    );
    describe_counter!(
        PLACEMENT_EVENTS,
        "Events attributed to lists, by placement, variant and what they say"
    );
}

fn of_the_server() {
    describe_histogram!(RPC_DURATION, Unit::Seconds, "Calls by method and code");
    describe_gauge!(CALLS_IN_FLIGHT, "Calls in flight");
    describe_counter!(
        SHED,
        "Calls refused because of overload, by exhausted resource"
    );
    describe_counter!(
        REFUSED,
        "Calls refused because of their credentials or quota, by reason"
    );
    describe_gauge!(
        BUFFERED_BYTES,
        Unit::Bytes,
        "Bytes of requests and replies in flight"
    );
    describe_gauge!(CONNECTIONS, "Open connections, by port");
    describe_counter!(
        CONNECTIONS_ENDED,
        "Connections closed or refused by this process, by reason"
    );
    describe_counter!(PANICS, "Panics of calls and tasks");
    describe_gauge!(
        RUNTIME_SILENCE,
        Unit::Seconds,
        "Time since the runtime last ran a task"
    );
    describe_counter!(
        WEBHOOK_ELEMENTS,
        "Elements of webhook deliveries, by outcome"
    );
    describe_histogram!(
        HTTP_DURATION,
        Unit::Seconds,
        "Requests to the webhook, by status"
    );
    describe_gauge!(BUILD_INFO, "1, labelled with the running version");
}

fn init() {
    calls_in_flight().set(0.0);
    buffered_bytes().set(0.0);
    counter!(PANICS).increment(0);
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    BY_OUTCOME.init();
    MERGED.init();
    BY_KIND.init();
    REBUILDS.init();
    BUILDS.init();
    BUILT_FROM.init();
    REFRESHES.init();
    LAG.init();
    BYTES.init();
    MADE.init();
    EXPLORED.init();
    ROWS.init();
    ROWS_LAG.init();
    ROWS_AGE.init();
    AUDIENCES.init();
    rows_due(0);
    LOOKUPS.init();
    MIRRORED.init();
    MIRRORS_LAG.init();
    SHED_CALLS.init();
    REFUSED_CALLS.init();
    ENDED.init();
    DELIVERED.init();
    let _ = http_duration("200".to_owned());
}
