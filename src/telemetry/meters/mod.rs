//! Every metric: its name, its labels and its value are defined here alone. Until
//! [`PrometheusExporter`](crate::telemetry::PrometheusExporter) is started, counting
//! costs next to nothing and has no effect.
//!
//! Labels have few values, all known beforehand: never an id, a key or a text from
//! outside.

mod describe;
mod gauges;
mod handles;
mod labels;
mod names;
mod record;
mod series;

pub(crate) use {describe::describe, gauges::measure};
pub use {
    gauges::{Level, Levels, watch},
    labels::{
        Cache, ConnectionEnd, EventOutcome, Exploration, List, Lookup, MergedEvent, ModelBuild,
        ModelItem, Rebuild, Refresh, Refused, RowRefresh, Shed, Unreadable, WebhookOutcome,
    },
    names::*,
    record::*,
};
