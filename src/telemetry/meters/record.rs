//! One function per metric that is counted when something happens.

use std::time::{Duration, Instant};

use metrics::{Gauge, Histogram, counter, gauge, histogram};

use super::{
    labels::{
        Cache, ConnectionEnd, EventOutcome, Exploration, List, Lookup, MergedEvent, MirrorChange,
        ModelBuild, ModelItem, Rebuild, Refresh, Refused, RowRefresh, Shed, Unreadable,
        WebhookOutcome,
    },
    names::{
        BUFFERED_BYTES, CALLS_IN_FLIGHT, CONNECTIONS, DEPENDENCY_UP, HTTP_DURATION, PANICS,
        ROWS_DUE, RPC_DURATION, RUNTIME_SILENCE,
    },
    series::{
        AUDIENCES, BUILDS, BUILT_FROM, BY_KIND, BY_OUTCOME, BYTES, COLD, DELIVERED, EMPTY, ENDED,
        EXPLORED, LAG, LOOKUPS, MADE, MEANINGS, MERGED, MIRRORED, MIRRORS_LAG, PROPOSED, READS,
        REBUILDS, REFRESHES, REFUSED_CALLS, ROWS, ROWS_AGE, ROWS_LAG, SHED_CALLS, STORE_OPERATIONS,
        WITHOUT,
    },
};

/// Counts a call that was refused for its credentials or quota.
pub fn refused(why: Refused) {
    REFUSED_CALLS.add(why, 1);
}

/// Counts changes of mirrored items.
pub fn mirror_changes(source: MirrorChange, items: usize) {
    MIRRORED.add(source, items);
}

/// Records how long an announced change waited until it was read.
pub fn mirror_lag(lag: Duration) {
    MIRRORS_LAG.record((), lag.as_secs_f64(), 1);
}

/// The gauge of calls in flight.
pub fn calls_in_flight() -> Gauge {
    gauge!(CALLS_IN_FLIGHT)
}

/// The gauge of bytes of messages in flight.
pub fn buffered_bytes() -> Gauge {
    gauge!(BUFFERED_BYTES)
}

/// Counts a call that was refused because of overload.
pub fn shed(why: Shed) {
    SHED_CALLS.add(why, 1);
}

/// Sets the number of open connections of a port.
pub fn connections(port: &'static str, open: usize) {
    gauge!(CONNECTIONS, "port" => port).set(open as f64);
}

/// Counts a connection that this process closed or refused.
pub fn connection_ended(why: ConnectionEnd) {
    ENDED.add(why, 1);
}

/// Counts a panic.
pub fn panicked() {
    counter!(PANICS).increment(1);
}

/// Sets the time since the runtime last ran a task.
pub fn runtime_silence(silence: Duration) {
    gauge!(RUNTIME_SILENCE).set(silence.as_secs_f64());
}

/// Counts events of one outcome.
pub fn events(outcome: EventOutcome, count: usize) {
    BY_OUTCOME.add(outcome, count);
}

/// Counts events of a merged user.
pub fn merged_events(outcome: MergedEvent, count: usize) {
    MERGED.add(outcome, count);
}

/// Counts events of one meaning.
pub fn event_meanings(meaning: &'static str, count: usize) {
    MEANINGS.add([meaning], count);
}

/// Counts the items that a model was built from.
pub fn model_items(all: usize, known: usize) {
    BUILT_FROM.add(ModelItem::Known, known);
    BUILT_FROM.add(ModelItem::Unknown, all.saturating_sub(known));
}

/// Counts a stored value that cannot be decoded.
pub fn unreadable(kind: Unreadable) {
    BY_KIND.add(kind, 1);
}

/// Counts reads of models from one source.
pub fn model_reads(source: &'static str, count: usize) {
    READS.add([source], count);
}

/// Counts a read without a usable model.
pub fn model_rebuild(why: Rebuild) {
    REBUILDS.add(why, 1);
}

/// Counts a built model.
pub fn model_build(outcome: ModelBuild) {
    BUILDS.add(outcome, 1);
}

/// Counts an append by how it was refreshed.
pub fn model_refresh(how: Refresh) {
    REFRESHES.add(how, 1);
}

/// Records that a saved model contains events that were received together.
pub fn model_lag(arrived: Instant, events: usize) {
    LAG.record((), arrived.elapsed().as_secs_f64(), events);
}

/// Records the size of a stored model.
pub fn model_bytes(bytes: usize) {
    BYTES.record((), bytes as f64, 1);
}

/// Records the number of candidates that a generator added to each of some lists.
pub fn candidates(generator: &'static str, count: usize, lists: usize) {
    PROPOSED.record([generator], count as f64, lists);
}

/// Counts a list.
pub fn list(how: List) {
    MADE.add(how, 1);
}

/// Counts cold lists with one reason.
pub fn cold_lists(reason: &'static str, count: usize) {
    COLD.add([reason], count);
}

/// Counts empty lists with one reason.
pub fn empty_lists(reason: &'static str, count: usize) {
    EMPTY.add([reason], count);
}

/// Counts degraded lists with one cause.
pub fn degraded_lists(cause: &'static str, count: usize) {
    WITHOUT.add([cause], count);
}

/// Counts a list by the outcome of its exploration.
pub fn exploration(outcome: Exploration) {
    EXPLORED.add(outcome, 1);
}

/// Counts a refresh of a neighbour row.
pub fn row_refresh(outcome: RowRefresh) {
    ROWS.add(outcome, 1);
}

/// Records the time from a row being due to its refresh.
pub fn row_lag(seconds: f64) {
    ROWS_LAG.record((), seconds, 1);
}

/// Records the age of a row that was read for a list.
pub fn row_age(seconds: f64) {
    ROWS_AGE.record((), seconds, 1);
}

/// Sets the number of rows that are due.
pub fn rows_due(rows: usize) {
    gauge!(ROWS_DUE).set(rows as f64);
}

/// Records the size of a refreshed audience.
pub fn audience_size(users: usize) {
    AUDIENCES.record((), users as f64, 1);
}

/// Counts lookups in a cache.
pub fn cache_lookups(cache: Cache, hits: usize, misses: usize) {
    LOOKUPS.add((cache, Lookup::Hit), hits);
    LOOKUPS.add((cache, Lookup::Miss), misses);
}

/// Sets whether a dependency answers.
pub fn dependency_up(dependency: &'static str, up: bool) {
    gauge!(DEPENDENCY_UP, "dependency" => dependency).set(f64::from(u8::from(up)));
}

/// An operation of a store in flight. Recorded when it is dropped, so also if it is
/// cancelled.
pub struct StoreOperation {
    system: &'static str,
    operation: &'static str,
    error_type: &'static str,
    started: Instant,
}

impl StoreOperation {
    /// An operation that starts now.
    #[must_use]
    pub fn begin(system: &'static str, operation: &'static str) -> Self {
        Self {
            system,
            operation,
            error_type: "cancelled",
            started: Instant::now(),
        }
    }

    /// It ended, with the type of its error if it failed.
    pub fn ended(&mut self, error_type: Option<&'static str>) {
        self.error_type = error_type.unwrap_or_default();
    }
}

impl Drop for StoreOperation {
    fn drop(&mut self) {
        let labels = [self.system, self.operation, self.error_type];
        STORE_OPERATIONS.record(labels, self.started.elapsed().as_secs_f64(), 1);
    }
}

/// The histogram of durations of calls of a method with a code, in seconds.
pub fn rpc_duration(method: &str, code: &'static str) -> Histogram {
    histogram!(
        RPC_DURATION,
        "rpc_system_name" => "grpc",
        "rpc_method" => method.to_owned(),
        "rpc_response_status_code" => code,
    )
}

/// Counts an element of a webhook delivery.
pub fn webhook_element(outcome: WebhookOutcome) {
    DELIVERED.add(outcome, 1);
}

pub(super) fn http_duration(status: String) -> Histogram {
    histogram!(HTTP_DURATION, "http_response_status_code" => status)
}

/// A webhook request in flight. Recorded when it is dropped, so also if its sender
/// disconnects.
pub struct HttpRequest {
    started: Instant,
    status: Option<u16>,
}

impl HttpRequest {
    /// A request that starts now.
    #[must_use]
    pub fn begin() -> Self {
        Self {
            started: Instant::now(),
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
            .record(self.started.elapsed().as_secs_f64());
    }
}
