//! The series of the metrics with labels of few values.

use super::{
    handles::{Counters, Histograms, NamedCounters, NamedHistograms},
    labels::{
        Cache, ConnectionEnd, EventOutcome, Exploration, List, Lookup, MergedEvent, MirrorChange,
        ModelBuild, ModelItem, Rebuild, Refresh, Refused, RowRefresh, Shed, Unreadable,
        WebhookOutcome,
    },
    names::{
        AUDIENCE_SIZE, CACHE_LOOKUPS, CANDIDATES, COLD_LISTS, CONNECTIONS_ENDED, DEGRADED,
        EMPTY_LISTS, EVENT_MEANINGS, EVENTS, EXPLORATION, LISTS, MERGED_EVENTS, MIRROR_CHANGES,
        MIRROR_LAG, MODEL_BUILDS, MODEL_BYTES, MODEL_ITEMS, MODEL_LAG, MODEL_READS, MODEL_REBUILDS,
        MODEL_REFRESHES, REFUSED, ROW_AGE, ROW_LAG, ROW_REFRESHES, SHED, STORE_DURATION,
        UNREADABLE, WEBHOOK_ELEMENTS,
    },
};

pub(super) static BY_OUTCOME: Counters<EventOutcome> = Counters::new(EVENTS);
pub(super) static MEANINGS: NamedCounters<1> = NamedCounters::new(EVENT_MEANINGS, ["meaning"]);
pub(super) static MERGED: Counters<MergedEvent> = Counters::new(MERGED_EVENTS);
pub(super) static BY_KIND: Counters<Unreadable> = Counters::new(UNREADABLE);
pub(super) static READS: NamedCounters<1> = NamedCounters::new(MODEL_READS, ["source"]);
pub(super) static REBUILDS: Counters<Rebuild> = Counters::new(MODEL_REBUILDS);
pub(super) static BUILDS: Counters<ModelBuild> = Counters::new(MODEL_BUILDS);
pub(super) static BUILT_FROM: Counters<ModelItem> = Counters::new(MODEL_ITEMS);
pub(super) static REFRESHES: Counters<Refresh> = Counters::new(MODEL_REFRESHES);
pub(super) static LAG: Histograms<()> = Histograms::new(MODEL_LAG);
pub(super) static BYTES: Histograms<()> = Histograms::new(MODEL_BYTES);
pub(super) static PROPOSED: NamedHistograms<1> = NamedHistograms::new(CANDIDATES, ["generator"]);
pub(super) static MADE: Counters<List> = Counters::new(LISTS);
pub(super) static COLD: NamedCounters<1> = NamedCounters::new(COLD_LISTS, ["reason"]);
pub(super) static EMPTY: NamedCounters<1> = NamedCounters::new(EMPTY_LISTS, ["reason"]);
pub(super) static WITHOUT: NamedCounters<1> = NamedCounters::new(DEGRADED, ["cause"]);
pub(super) static EXPLORED: Counters<Exploration> = Counters::new(EXPLORATION);
pub(super) static LOOKUPS: Counters<(Cache, Lookup)> = Counters::new(CACHE_LOOKUPS);
pub(super) static ROWS: Counters<RowRefresh> = Counters::new(ROW_REFRESHES);
pub(super) static ROWS_LAG: Histograms<()> = Histograms::new(ROW_LAG);
pub(super) static ROWS_AGE: Histograms<()> = Histograms::new(ROW_AGE);
pub(super) static AUDIENCES: Histograms<()> = Histograms::new(AUDIENCE_SIZE);
pub(super) static MIRRORED: Counters<MirrorChange> = Counters::new(MIRROR_CHANGES);
pub(super) static MIRRORS_LAG: Histograms<()> = Histograms::new(MIRROR_LAG);
pub(super) static SHED_CALLS: Counters<Shed> = Counters::new(SHED);
pub(super) static REFUSED_CALLS: Counters<Refused> = Counters::new(REFUSED);
pub(super) static DELIVERED: Counters<WebhookOutcome> = Counters::new(WEBHOOK_ELEMENTS);
pub(super) static ENDED: Counters<ConnectionEnd> = Counters::new(CONNECTIONS_ENDED);
pub(super) static STORE_OPERATIONS: NamedHistograms<3> = NamedHistograms::new(
    STORE_DURATION,
    ["db_system_name", "db_operation_name", "error_type"],
);
