//! Every metric: its name, its labels and what it counts, spelled here and
//! nowhere else. Without a recorder (see [`crate::telemetry`]) counting costs
//! next to nothing and goes nowhere.
//!
//! Labels have few values, all known beforehand: never an id, a key or a text
//! from outside.

use std::time::{Duration, Instant};

use metrics::{
    Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

/// Calls answered, by method and code: a histogram of seconds.
pub const RPC_DURATION: &str = "rpc_server_call_duration_seconds";
/// Operations of Redis and Qdrant, by type of error: a histogram of seconds.
pub const STORE_DURATION: &str = "db_client_operation_duration_seconds";
/// Events that came in, by outcome.
pub const EVENTS: &str = "recsys_events_total";
/// What a store held and nobody could read, by kind.
pub const UNREADABLE: &str = "recsys_unreadable_total";
/// Models that were asked for, by where they came from.
pub const MODEL_READS: &str = "recsys_model_reads_total";
/// Models that were built, by what became of them.
pub const MODEL_BUILDS: &str = "recsys_model_builds_total";
/// Items that were looked up, by whether this process had them.
pub const ITEM_CACHE: &str = "recsys_item_cache_total";
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

/// All names.
pub const ALL: [&str; 19] = [
    RPC_DURATION,
    STORE_DURATION,
    EVENTS,
    UNREADABLE,
    MODEL_READS,
    MODEL_BUILDS,
    ITEM_CACHE,
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

/// Upper bounds of the histograms' buckets, in seconds.
pub const BUCKETS_SECONDS: [f64; 12] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
];

/// What became of an event.
#[derive(Clone, Copy, Debug)]
pub enum EventOutcome {
    /// Stored.
    Accepted,
    /// Known already.
    Duplicate,
    /// Too old.
    OutsideWindow,
    /// Refused: it breaks a rule.
    Invalid,
    /// The store failed, and the event may not be stored.
    Failed,
}

impl EventOutcome {
    const ALL: [Self; 5] = [
        Self::Accepted,
        Self::Duplicate,
        Self::OutsideWindow,
        Self::Invalid,
        Self::Failed,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Duplicate => "duplicate",
            Self::OutsideWindow => "outside_window",
            Self::Invalid => "invalid",
            Self::Failed => "failed",
        }
    }
}

/// What could not be read.
#[derive(Clone, Copy, Debug)]
pub enum Unreadable {
    /// A member of an event buffer.
    Event,
    /// A user model.
    Model,
}

impl Unreadable {
    const ALL: [Self; 2] = [Self::Event, Self::Model];

    fn label(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::Model => "model",
        }
    }
}

/// Where a model came from.
#[derive(Clone, Copy, Debug)]
pub enum ModelRead {
    /// It was stored and current.
    Materialized,
    /// It was missing, stale or unreadable, and built anew.
    Rebuilt,
    /// Nothing is known of the user.
    Empty,
}

impl ModelRead {
    const ALL: [Self; 3] = [Self::Materialized, Self::Rebuilt, Self::Empty];

    fn label(self) -> &'static str {
        match self {
            Self::Materialized => "materialized",
            Self::Rebuilt => "rebuilt",
            Self::Empty => "empty",
        }
    }
}

/// What became of a model that was built.
#[derive(Clone, Copy, Debug)]
pub enum ModelBuild {
    /// It is stored.
    Saved,
    /// A newer one was there, or the user was erased.
    Superseded,
    /// The store failed; the next read builds it again.
    NotSaved,
    /// It could not be built: the events or items were not to be had.
    Failed,
}

impl ModelBuild {
    const ALL: [Self; 4] = [Self::Saved, Self::Superseded, Self::NotSaved, Self::Failed];

    fn label(self) -> &'static str {
        match self {
            Self::Saved => "saved",
            Self::Superseded => "superseded",
            Self::NotSaved => "not_saved",
            Self::Failed => "failed",
        }
    }
}

/// What there was too much of when a call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// Calls that are worked on.
    Calls,
    /// Bytes of messages.
    Bytes,
}

impl Shed {
    const ALL: [Self; 2] = [Self::Calls, Self::Bytes];

    fn label(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Bytes => "bytes",
        }
    }
}

/// Why a caller was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No key, or none that is known.
    Key,
    /// Its key lacks the role.
    Role,
    /// It named another tenant.
    Tenant,
    /// Its key's quota was used up.
    Quota,
}

impl Refused {
    const ALL: [Self; 4] = [Self::Key, Self::Role, Self::Tenant, Self::Quota];

    fn label(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Role => "role",
            Self::Tenant => "tenant",
            Self::Quota => "quota",
        }
    }
}

/// Counts a call that was not let in.
pub fn refused(why: Refused) {
    counter!(REFUSED, "reason" => why.label()).increment(1);
}

/// Why this process ended or refused a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// It was old enough.
    Age,
    /// There were too many.
    Full,
    /// Its client never spoke.
    Silent,
    /// Its client did not take in a reply.
    Slow,
    /// Its client and this server found no TLS to speak: a wrong certificate,
    /// or none.
    Tls,
}

impl ConnectionEnd {
    const ALL: [Self; 5] = [Self::Age, Self::Full, Self::Silent, Self::Slow, Self::Tls];

    fn label(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Full => "full",
            Self::Silent => "silent",
            Self::Slow => "slow",
            Self::Tls => "tls",
        }
    }
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
    counter!(SHED, "reason" => why.label()).increment(1);
}

/// Notes how many connections a port has.
pub fn connections(port: &'static str, open: usize) {
    gauge!(CONNECTIONS, "port" => port).set(open as f64);
}

/// Counts a connection that this process ended or refused.
pub fn connection_ended(why: ConnectionEnd) {
    counter!(CONNECTIONS_ENDED, "reason" => why.label()).increment(1);
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
    counter!(EVENTS, "outcome" => outcome.label()).increment(count as u64);
}

/// Counts something unreadable.
pub fn unreadable(kind: Unreadable) {
    counter!(UNREADABLE, "kind" => kind.label()).increment(1);
}

/// Counts a model that was asked for.
pub fn model_read(source: ModelRead) {
    counter!(MODEL_READS, "source" => source.label()).increment(1);
}

/// Counts a model that was built.
pub fn model_build(outcome: ModelBuild) {
    counter!(MODEL_BUILDS, "outcome" => outcome.label()).increment(1);
}

/// Counts items that were looked up.
pub fn item_cache(hits: usize, misses: usize) {
    counter!(ITEM_CACHE, "outcome" => "hit").increment(hits as u64);
    counter!(ITEM_CACHE, "outcome" => "miss").increment(misses as u64);
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
        histogram!(
            STORE_DURATION,
            "db_system_name" => self.system,
            "db_operation_name" => self.operation,
            "error_type" => self.error_type,
        )
        .record(self.begun.elapsed().as_secs_f64());
    }
}

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

/// Tells the recorder what the metrics mean, and begins the counters at 0, so
/// that their first increase is one.
pub(crate) fn describe() {
    describe_histogram!(RPC_DURATION, Unit::Seconds, "Calls by method and code");
    describe_histogram!(
        STORE_DURATION,
        Unit::Seconds,
        "Operations of stores, by type of error"
    );
    describe_counter!(EVENTS, "Events that came in, by outcome");
    describe_counter!(
        UNREADABLE,
        "Stored events and models that could not be read"
    );
    describe_counter!(
        MODEL_READS,
        "Models that were asked for, by where they came from"
    );
    describe_counter!(
        MODEL_BUILDS,
        "Models that were built, by what became of them"
    );
    describe_counter!(
        ITEM_CACHE,
        "Items of Qdrant that were looked up, by hit or miss"
    );
    item_cache(0, 0);
    describe_gauge!(CALLS_IN_FLIGHT, "Calls that are worked on");
    describe_counter!(SHED, "Calls refused because there were too many");
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
    calls_in_flight().set(0.0);
    buffered_bytes().set(0.0);
    counter!(PANICS).increment(0);
    for why in Shed::ALL {
        counter!(SHED, "reason" => why.label()).increment(0);
    }
    describe_counter!(REFUSED, "Calls whose callers were not let in");
    for why in Refused::ALL {
        counter!(REFUSED, "reason" => why.label()).increment(0);
    }
    for why in ConnectionEnd::ALL {
        counter!(CONNECTIONS_ENDED, "reason" => why.label()).increment(0);
    }
    describe_gauge!(DEPENDENCY_UP, "1 if a dependency answers, otherwise 0");
    describe_gauge!(BUILD_INFO, "1, labelled with the running version");
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    for outcome in EventOutcome::ALL {
        events(outcome, 0);
    }
    for kind in Unreadable::ALL {
        counter!(UNREADABLE, "kind" => kind.label()).increment(0);
    }
    for source in ModelRead::ALL {
        counter!(MODEL_READS, "source" => source.label()).increment(0);
    }
    for outcome in ModelBuild::ALL {
        counter!(MODEL_BUILDS, "outcome" => outcome.label()).increment(0);
    }
    describe_counter!(
        WEBHOOK_ELEMENTS,
        "Elements of deliveries, by whether they became events"
    );
    describe_histogram!(
        HTTP_DURATION,
        Unit::Seconds,
        "Requests to the webhook, by status"
    );
    for outcome in WebhookOutcome::ALL {
        counter!(WEBHOOK_ELEMENTS, "outcome" => outcome.label()).increment(0);
    }
    let _ = http_duration("200".to_owned());
}

/// What an element of a delivery was.
#[derive(Clone, Copy, Debug)]
pub enum WebhookOutcome {
    /// An event, which counts in [`EVENTS`], too.
    Mapped,
    /// It names no user.
    NoUser,
    /// It is another call than track or identify.
    OtherType,
    /// It is of no known shape.
    Unreadable,
}

impl WebhookOutcome {
    const ALL: [Self; 4] = [
        Self::Mapped,
        Self::NoUser,
        Self::OtherType,
        Self::Unreadable,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Mapped => "mapped",
            Self::NoUser => "no_user",
            Self::OtherType => "other_type",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Counts an element of a delivery.
pub fn webhook_element(outcome: WebhookOutcome) {
    counter!(WEBHOOK_ELEMENTS, "outcome" => outcome.label()).increment(1);
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
