//! What the metrics mean, for whoever reads them.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};

use crate::telemetry::meters::{
    BUFFERED_BYTES, BUILD_INFO, BUILDS, BY_KIND, BY_OUTCOME, BYTES, CACHE_BYTES, CACHE_ENTRIES,
    CACHE_LOOKUPS, CALLS_IN_FLIGHT, CANDIDATES, CONNECTIONS, CONNECTIONS_ENDED, DB_CONNECTIONS,
    DB_MAX_CONNECTIONS, DB_PENDING_REQUESTS, DEGRADED, DELIVERED, DEPENDENCY_UP, EMBEDDED_BYTES,
    EMBEDDED_MAX_BYTES, EMPTY_LISTS, ENDED, EVENTS, EXPLORATION, EXPLORED, HTTP_DURATION, LAG,
    LISTS, LOOKUPS, MADE, MODEL_BUILDS, MODEL_BYTES, MODEL_LAG, MODEL_READS, MODEL_REBUILDS,
    MODEL_REFRESHES, PANICS, REBUILDS, REFRESHES, REFUSED, REFUSED_CALLS, RPC_DURATION,
    RUNTIME_SILENCE, SHED, SHED_CALLS, STORE_DURATION, UNREADABLE, WEBHOOK_ELEMENTS,
    buffered_bytes, calls_in_flight, handles, http_duration,
};

/// Tells the recorder what the metrics mean, and begins the counters at 0, so
/// that their first increase is one.
pub(crate) fn describe() {
    handles::recorded();
    of_stores();
    of_models();
    of_lists();
    of_the_server();
    begin();
}

fn of_stores() {
    describe_histogram!(
        STORE_DURATION,
        Unit::Seconds,
        "Operations of stores, by type of error"
    );
    describe_gauge!(DB_CONNECTIONS, "Connections of the pool, by state");
    describe_gauge!(DB_MAX_CONNECTIONS, "Most connections of the pool");
    describe_gauge!(
        DB_PENDING_REQUESTS,
        "Operations that wait for a connection of the pool"
    );
    describe_counter!(
        UNREADABLE,
        "Stored events and models that could not be read"
    );
    describe_counter!(
        CACHE_LOOKUPS,
        "Items of Qdrant and buffers of Redis that were looked up in this process, by hit or miss"
    );
    describe_gauge!(CACHE_BYTES, Unit::Bytes, "Memory of those that are kept");
    describe_gauge!(CACHE_ENTRIES, "How many of them are kept");
    describe_gauge!(
        EMBEDDED_BYTES,
        Unit::Bytes,
        "Memory of what is in no store but this process"
    );
    describe_gauge!(EMBEDDED_MAX_BYTES, Unit::Bytes, "Most of that memory");
    describe_gauge!(DEPENDENCY_UP, "1 if a dependency answers, otherwise 0");
}

fn of_models() {
    describe_counter!(EVENTS, "Events that came in, by outcome");
    describe_counter!(
        MODEL_READS,
        "Models that were asked for, by where they came from"
    );
    describe_counter!(
        MODEL_REBUILDS,
        "Reads that found no model they could use, by reason"
    );
    describe_counter!(
        MODEL_BUILDS,
        "Models that were built, by what became of them"
    );
    describe_counter!(
        MODEL_REFRESHES,
        "Appends that came to a refresh of their user's model: their own, or a shared one"
    );
    describe_histogram!(
        MODEL_LAG,
        Unit::Seconds,
        "From an event's arrival to the save of the model that has it"
    );
    describe_histogram!(MODEL_BYTES, Unit::Bytes, "Models as they are stored");
}

fn of_lists() {
    describe_counter!(LISTS, "Lists, by how they were made");
    describe_histogram!(CANDIDATES, "Candidates of a list, by who proposed them");
    describe_counter!(EMPTY_LISTS, "Empty lists, by reason");
    describe_counter!(DEGRADED, "What lists had to do without");
    describe_counter!(EXPLORATION, "What became of lists' exploration items");
}

fn of_the_server() {
    describe_histogram!(RPC_DURATION, Unit::Seconds, "Calls by method and code");
    describe_gauge!(CALLS_IN_FLIGHT, "Calls that are worked on");
    describe_counter!(SHED, "Calls refused because there were too many");
    describe_counter!(REFUSED, "Calls whose callers were not let in");
    describe_gauge!(
        BUFFERED_BYTES,
        Unit::Bytes,
        "Messages that come in or go out"
    );
    describe_gauge!(CONNECTIONS, "Open connections, by port");
    describe_counter!(
        CONNECTIONS_ENDED,
        "Connections that this process ended or refused"
    );
    describe_counter!(PANICS, "Panics of calls and tasks: bugs");
    describe_gauge!(
        RUNTIME_SILENCE,
        Unit::Seconds,
        "Time since the runtime last ran a task"
    );
    describe_counter!(
        WEBHOOK_ELEMENTS,
        "Elements of deliveries, by whether they became events"
    );
    describe_histogram!(
        HTTP_DURATION,
        Unit::Seconds,
        "Requests to the webhook, by status"
    );
    describe_gauge!(BUILD_INFO, "1, labelled with the running version");
}

fn begin() {
    calls_in_flight().set(0.0);
    buffered_bytes().set(0.0);
    counter!(PANICS).increment(0);
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    BY_OUTCOME.begin();
    BY_KIND.begin();
    REBUILDS.begin();
    BUILDS.begin();
    REFRESHES.begin();
    LAG.begin();
    BYTES.begin();
    MADE.begin();
    EXPLORED.begin();
    LOOKUPS.begin();
    SHED_CALLS.begin();
    REFUSED_CALLS.begin();
    ENDED.begin();
    DELIVERED.begin();
    let _ = http_duration("200".to_owned());
}
