//! Every metric: its name, its labels and what it counts, spelled here and
//! nowhere else. Without a recorder (see [`crate::telemetry`]) counting costs
//! next to nothing and goes nowhere.
//!
//! Labels have few values, all known beforehand: never an id, a key or a text
//! from outside.

mod describe;
mod handles;
mod labels;
mod levels;

use std::time::{Duration, Instant};

use metrics::{Gauge, Histogram, counter, gauge, histogram};

use handles::{Counters, Histograms, NamedCounters, NamedHistograms};
pub(crate) use {describe::describe, levels::measure};
pub use {
    labels::{
        Cache, ConnectionEnd, EventOutcome, Exploration, List, Lookup, ModelBuild, Rebuild,
        Refresh, Refused, Shed, Unreadable, WebhookOutcome,
    },
    levels::{Level, Levels, watch},
};

/// Calls answered, by method and code: a histogram of seconds.
pub const RPC_DURATION: &str = "rpc_server_call_duration_seconds";
/// Operations of Redis and Qdrant, by type of error: a histogram of seconds.
pub const STORE_DURATION: &str = "db_client_operation_duration_seconds";
/// Connections of the pool to Redis, by state.
pub const DB_CONNECTIONS: &str = "db_client_connection_count";
/// Most connections of that pool.
pub const DB_MAX_CONNECTIONS: &str = "db_client_connection_max";
/// Operations that wait for a connection of that pool.
pub const DB_PENDING_REQUESTS: &str = "db_client_connection_pending_requests";
/// Events that came in, by outcome.
pub const EVENTS: &str = "recsys_events_total";
/// What a store held and nobody could read, by kind.
pub const UNREADABLE: &str = "recsys_unreadable_total";
/// Models that were asked for, by where they came from.
pub const MODEL_READS: &str = "recsys_model_reads_total";
/// Reads that found no model that they could use, by reason.
pub const MODEL_REBUILDS: &str = "recsys_model_rebuilds_total";
/// Models that were built, by what became of them.
pub const MODEL_BUILDS: &str = "recsys_model_builds_total";
/// Appends that came to a refresh, by whether they shared it.
pub const MODEL_REFRESHES: &str = "recsys_model_refreshes_total";
/// From an event's arrival to the save of the model that has it: a histogram of
/// seconds.
pub const MODEL_LAG: &str = "recsys_model_lag_seconds";
/// Models as they are stored: a histogram of bytes.
pub const MODEL_BYTES: &str = "recsys_model_bytes";
/// Candidates of a list, by who proposed them: a histogram of counts.
pub const CANDIDATES: &str = "recsys_candidates";
/// Lists, by how they were made.
pub const LISTS: &str = "recsys_lists_total";
/// Empty lists, by reason.
pub const EMPTY_LISTS: &str = "recsys_empty_lists_total";
/// What lists had to do without.
pub const DEGRADED: &str = "recsys_degraded_total";
/// Exploration items, by what became of them.
pub const EXPLORATION: &str = "recsys_exploration_total";
/// What was looked up among the copies that this process keeps.
pub const CACHE_LOOKUPS: &str = "recsys_cache_lookups_total";
/// Memory of those copies.
pub const CACHE_BYTES: &str = "recsys_cache_bytes";
/// How many copies there are.
pub const CACHE_ENTRIES: &str = "recsys_cache_entries";
/// Memory of what is in no store but this process.
pub const EMBEDDED_BYTES: &str = "recsys_embedded_bytes";
/// Most of that memory.
pub const EMBEDDED_MAX_BYTES: &str = "recsys_embedded_max_bytes";
/// Calls that are worked on.
pub const CALLS_IN_FLIGHT: &str = "recsys_calls_in_flight";
/// Calls that were refused because there were too many, by what there was too
/// much of.
pub const SHED: &str = "recsys_calls_shed_total";
/// Calls that were not let in, by what their callers lacked.
pub const REFUSED: &str = "recsys_calls_refused_total";
/// Bytes of messages that come in or go out.
pub const BUFFERED_BYTES: &str = "recsys_buffered_bytes";
/// Open connections, by port.
pub const CONNECTIONS: &str = "recsys_connections";
/// Connections that this process ended or refused, by reason.
pub const CONNECTIONS_ENDED: &str = "recsys_connections_ended_total";
/// Panics: bugs, each of one call or task.
pub const PANICS: &str = "recsys_panics_total";
/// Seconds since the runtime last ran a task.
pub const RUNTIME_SILENCE: &str = "recsys_runtime_silence_seconds";
/// Whether a dependency answers.
pub const DEPENDENCY_UP: &str = "recsys_dependency_up";
/// The running version.
pub const BUILD_INFO: &str = "recsys_build_info";
/// Elements of deliveries, by whether they became events.
pub const WEBHOOK_ELEMENTS: &str = "recsys_webhook_events_total";
/// Requests to the webhook, by status: a histogram of seconds.
pub const HTTP_DURATION: &str = "http_server_request_duration_seconds";

/// All names of this service's own.
pub const ALL: [&str; 35] = [
    RPC_DURATION,
    STORE_DURATION,
    DB_CONNECTIONS,
    DB_MAX_CONNECTIONS,
    DB_PENDING_REQUESTS,
    EVENTS,
    UNREADABLE,
    MODEL_READS,
    MODEL_REBUILDS,
    MODEL_BUILDS,
    MODEL_REFRESHES,
    MODEL_LAG,
    MODEL_BYTES,
    CANDIDATES,
    LISTS,
    EMPTY_LISTS,
    DEGRADED,
    EXPLORATION,
    CACHE_LOOKUPS,
    CACHE_BYTES,
    CACHE_ENTRIES,
    EMBEDDED_BYTES,
    EMBEDDED_MAX_BYTES,
    CALLS_IN_FLIGHT,
    SHED,
    REFUSED,
    BUFFERED_BYTES,
    CONNECTIONS,
    CONNECTIONS_ENDED,
    PANICS,
    RUNTIME_SILENCE,
    DEPENDENCY_UP,
    BUILD_INFO,
    WEBHOOK_ELEMENTS,
    HTTP_DURATION,
];

/// What every process tells of itself, in Prometheus's usual names. Some
/// systems tell less.
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
/// Those of [`MODEL_BYTES`]: powers of 4 from 1 KiB to 16 MiB.
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
/// Those of [`CANDIDATES`].
pub const BUCKETS_CANDIDATES: [f64; 9] = [0.0, 1.0, 3.0, 10.0, 30.0, 100.0, 200.0, 400.0, 1_000.0];

static BY_OUTCOME: Counters<EventOutcome> = Counters::new(EVENTS);
static BY_KIND: Counters<Unreadable> = Counters::new(UNREADABLE);
static READS: NamedCounters<1> = NamedCounters::new(MODEL_READS, ["source"]);
static REBUILDS: Counters<Rebuild> = Counters::new(MODEL_REBUILDS);
static BUILDS: Counters<ModelBuild> = Counters::new(MODEL_BUILDS);
static REFRESHES: Counters<Refresh> = Counters::new(MODEL_REFRESHES);
static LAG: Histograms<()> = Histograms::new(MODEL_LAG);
static BYTES: Histograms<()> = Histograms::new(MODEL_BYTES);
static PROPOSED: NamedHistograms<1> = NamedHistograms::new(CANDIDATES, ["generator"]);
static MADE: Counters<List> = Counters::new(LISTS);
static EMPTY: NamedCounters<1> = NamedCounters::new(EMPTY_LISTS, ["reason"]);
static WITHOUT: NamedCounters<1> = NamedCounters::new(DEGRADED, ["cause"]);
static EXPLORED: Counters<Exploration> = Counters::new(EXPLORATION);
static LOOKUPS: Counters<(Cache, Lookup)> = Counters::new(CACHE_LOOKUPS);
static SHED_CALLS: Counters<Shed> = Counters::new(SHED);
static REFUSED_CALLS: Counters<Refused> = Counters::new(REFUSED);
static DELIVERED: Counters<WebhookOutcome> = Counters::new(WEBHOOK_ELEMENTS);
static ENDED: Counters<ConnectionEnd> = Counters::new(CONNECTIONS_ENDED);

/// Counts a call that was not let in.
pub fn refused(why: Refused) {
    REFUSED_CALLS.add(why, 1);
}

/// Where the calls that are worked on are counted.
pub fn calls_in_flight() -> Gauge {
    gauge!(CALLS_IN_FLIGHT)
}

/// Where the bytes of messages are counted.
pub fn buffered_bytes() -> Gauge {
    gauge!(BUFFERED_BYTES)
}

/// Counts a call that was refused.
pub fn shed(why: Shed) {
    SHED_CALLS.add(why, 1);
}

/// Notes how many connections a port has.
pub fn connections(port: &'static str, open: usize) {
    gauge!(CONNECTIONS, "port" => port).set(open as f64);
}

/// Counts a connection that this process ended or refused.
pub fn connection_ended(why: ConnectionEnd) {
    ENDED.add(why, 1);
}

/// Counts a panic.
pub fn panicked() {
    counter!(PANICS).increment(1);
}

/// Notes for how long the runtime has run no task.
pub fn runtime_silence(silence: Duration) {
    gauge!(RUNTIME_SILENCE).set(silence.as_secs_f64());
}

/// Counts events of one outcome.
pub fn events(outcome: EventOutcome, count: usize) {
    BY_OUTCOME.add(outcome, count);
}

/// Counts something unreadable.
pub fn unreadable(kind: Unreadable) {
    BY_KIND.add(kind, 1);
}

/// Counts reads of models from one source.
pub fn model_reads(source: &'static str, count: usize) {
    READS.add([source], count);
}

/// Counts a read that found no model that it could use.
pub fn model_rebuild(why: Rebuild) {
    REBUILDS.add(why, 1);
}

/// Counts a model that was built.
pub fn model_build(outcome: ModelBuild) {
    BUILDS.add(outcome, 1);
}

/// Counts an append that came to a refresh.
pub fn model_refresh(how: Refresh) {
    REFRESHES.add(how, 1);
}

/// Notes that events which arrived together are in the stored model now.
pub fn model_lag(arrived: Instant, events: usize) {
    LAG.note((), arrived.elapsed().as_secs_f64(), events);
}

/// Notes how large a model is that is stored.
pub fn model_bytes(bytes: usize) {
    BYTES.note((), bytes as f64, 1);
}

/// Records the number of candidates that a generator added to each of some lists.
pub fn candidates(generator: &'static str, count: usize, lists: usize) {
    PROPOSED.note([generator], count as f64, lists);
}

/// Counts a list.
pub fn list(how: List) {
    MADE.add(how, 1);
}

/// Counts empty lists with one reason.
pub fn empty_lists(reason: &'static str, count: usize) {
    EMPTY.add([reason], count);
}

/// Counts degraded lists with one cause.
pub fn degraded_lists(cause: &'static str, count: usize) {
    WITHOUT.add([cause], count);
}

/// Counts what became of a list's exploration item.
pub fn exploration(outcome: Exploration) {
    EXPLORED.add(outcome, 1);
}

/// Counts what was looked up in a cache.
pub fn cache_lookups(cache: Cache, hits: usize, misses: usize) {
    LOOKUPS.add((cache, Lookup::Hit), hits);
    LOOKUPS.add((cache, Lookup::Miss), misses);
}

/// Notes whether a dependency answers.
pub fn dependency_up(dependency: &'static str, up: bool) {
    gauge!(DEPENDENCY_UP, "dependency" => dependency).set(f64::from(u8::from(up)));
}

/// An operation of a store under way. Noted when it is dropped: also one that
/// nobody waits for any more.
pub struct StoreOperation {
    system: &'static str,
    operation: &'static str,
    error_type: &'static str,
    begun: Instant,
}

impl StoreOperation {
    /// An operation that begins now.
    #[must_use]
    pub fn begin(system: &'static str, operation: &'static str) -> Self {
        Self {
            system,
            operation,
            error_type: "cancelled",
            begun: Instant::now(),
        }
    }

    /// It has ended: well, or with an error of a type.
    pub fn ended(&mut self, error_type: Option<&'static str>) {
        self.error_type = error_type.unwrap_or_default();
    }
}

impl Drop for StoreOperation {
    fn drop(&mut self) {
        let labels = [self.system, self.operation, self.error_type];
        STORE_OPERATIONS.note(labels, self.begun.elapsed().as_secs_f64(), 1);
    }
}

/// By system, operation and type of error.
static STORE_OPERATIONS: NamedHistograms<3> = NamedHistograms::new(
    STORE_DURATION,
    ["db_system_name", "db_operation_name", "error_type"],
);

/// Where durations of the calls of one method with one code are noted, in
/// seconds.
pub fn rpc_duration(method: &str, code: &'static str) -> Histogram {
    histogram!(
        RPC_DURATION,
        "rpc_system_name" => "grpc",
        "rpc_method" => method.to_owned(),
        "rpc_response_status_code" => code,
    )
}

/// Counts an element of a delivery.
pub fn webhook_element(outcome: WebhookOutcome) {
    DELIVERED.add(outcome, 1);
}

fn http_duration(status: String) -> Histogram {
    histogram!(HTTP_DURATION, "http_response_status_code" => status)
}

/// A request to the webhook under way. Noted when it is dropped: also one whose
/// sender went away.
pub struct HttpRequest {
    begun: Instant,
    status: Option<u16>,
}

impl HttpRequest {
    /// A request that begins now.
    #[must_use]
    pub fn begin() -> Self {
        Self {
            begun: Instant::now(),
            status: None,
        }
    }

    /// It was answered with this status.
    pub fn answered(&mut self, status: u16) {
        self.status = Some(status);
    }
}

impl Drop for HttpRequest {
    fn drop(&mut self) {
        let status = self.status.map(|status| status.to_string());
        http_duration(status.unwrap_or_else(|| "cancelled".to_owned()))
            .record(self.begun.elapsed().as_secs_f64());
    }
}
