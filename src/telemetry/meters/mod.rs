//! Every metric: its name, its labels and its value are defined here alone. Until
//! [`PrometheusExporter`](crate::telemetry::PrometheusExporter) is started, counting
//! costs next to nothing and has no effect.
//!
//! Labels have few values, all known beforehand, in the code or in the ranking file: never
//! an id, a key or a text from outside.

mod arm_series;
mod describe;
mod gauges;
mod handles;
mod labels;
mod names;
mod record;
mod series;

pub use {
    arm_series::ArmSeries,
    gauges::{Level, Levels, watch},
    labels::{
        Cache, ConnectionEnd, EventOutcome, Exploration, List, Lookup, MergedEvent, MirrorChange,
        ModelBuild, ModelItem, Rebuild, Refresh, Refused, RowRefresh, Shed, Unreadable,
        WebhookOutcome,
    },
    names::*,
    record::*,
};
pub(crate) use {describe::describe, gauges::measure};
