//! Gauges that are measured at each scrape: the fill levels of pools, caches and
//! embedded stores. Several sources of one gauge, such as a cache per tenant, are
//! summed.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use metrics::gauge;

use super::names::{
    CACHE_BYTES, CACHE_ENTRIES, DB_CONNECTIONS, DB_MAX_CONNECTIONS, DB_PENDING_REQUESTS,
    EMBEDDED_BYTES, EMBEDDED_MAX_BYTES, MIRROR_BYTES, MIRROR_CATALOGS, MIRROR_COMPARISON_AGE,
    MIRROR_ITEMS,
};

/// A gauge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Idle connections to Redis.
    RedisIdle,
    /// Connections to Redis in use.
    RedisUsed,
    /// Largest number of connections to Redis.
    RedisMax,
    /// Operations waiting for a connection to Redis.
    RedisPending,
    /// Memory of the item cache.
    ItemBytes,
    /// Entries of the item cache.
    ItemEntries,
    /// Memory of the cache of event buffers.
    BufferBytes,
    /// Entries of the cache of event buffers.
    BufferEntries,
    /// Memory of the cache of user models.
    ModelBytes,
    /// Entries of the cache of user models.
    ModelEntries,
    /// Memory of the cache of neighbour rows.
    RowBytes,
    /// Entries of the cache of neighbour rows.
    RowEntries,
    /// Memory of the embedded user state.
    StateBytes,
    /// Memory limit of the embedded user state.
    StateMaxBytes,
    /// Memory of the embedded catalogue.
    CatalogueBytes,
    /// Memory limit of the embedded catalogue.
    CatalogueMaxBytes,
    /// Mirrored items.
    MirrorItems,
    /// Memory of mirrored items.
    MirrorBytes,
    /// Mirrors that do not have all items yet.
    MirrorsFilling,
    /// Mirrors that have all items.
    MirrorsFull,
    /// Catalogues that are too large for a mirror.
    MirrorsTooLarge,
    /// Seconds since the catalogue was compared that was compared longest ago.
    MirrorComparisonAge,
}

const REDIS: (&str, &str) = ("db_system_name", "redis");

/// A level with the name and the labels of its metric.
type LabelledLevel = (Level, &'static str, &'static [(&'static str, &'static str)]);

const ALL: [LabelledLevel; 22] = [
    (
        Level::RedisIdle,
        DB_CONNECTIONS,
        &[REDIS, ("state", "idle")],
    ),
    (
        Level::RedisUsed,
        DB_CONNECTIONS,
        &[REDIS, ("state", "used")],
    ),
    (Level::RedisMax, DB_MAX_CONNECTIONS, &[REDIS]),
    (Level::RedisPending, DB_PENDING_REQUESTS, &[REDIS]),
    (Level::ItemBytes, CACHE_BYTES, &[("cache", "items")]),
    (Level::ItemEntries, CACHE_ENTRIES, &[("cache", "items")]),
    (Level::BufferBytes, CACHE_BYTES, &[("cache", "buffers")]),
    (Level::BufferEntries, CACHE_ENTRIES, &[("cache", "buffers")]),
    (Level::ModelBytes, CACHE_BYTES, &[("cache", "models")]),
    (Level::ModelEntries, CACHE_ENTRIES, &[("cache", "models")]),
    (Level::RowBytes, CACHE_BYTES, &[("cache", "rows")]),
    (Level::RowEntries, CACHE_ENTRIES, &[("cache", "rows")]),
    (
        Level::StateBytes,
        EMBEDDED_BYTES,
        &[("store", "user_state")],
    ),
    (
        Level::StateMaxBytes,
        EMBEDDED_MAX_BYTES,
        &[("store", "user_state")],
    ),
    (
        Level::CatalogueBytes,
        EMBEDDED_BYTES,
        &[("store", "catalogue")],
    ),
    (
        Level::CatalogueMaxBytes,
        EMBEDDED_MAX_BYTES,
        &[("store", "catalogue")],
    ),
    (Level::MirrorItems, MIRROR_ITEMS, &[]),
    (Level::MirrorBytes, MIRROR_BYTES, &[]),
    (
        Level::MirrorsFilling,
        MIRROR_CATALOGS,
        &[("state", "filling")],
    ),
    (Level::MirrorsFull, MIRROR_CATALOGS, &[("state", "full")]),
    (
        Level::MirrorsTooLarge,
        MIRROR_CATALOGS,
        &[("state", "too_large")],
    ),
    (Level::MirrorComparisonAge, MIRROR_COMPARISON_AGE, &[]),
];

/// The sums of one measurement.
#[derive(Debug, Default)]
pub struct Levels([u64; ALL.len()]);

impl Levels {
    /// Adds to the sum of a level.
    pub fn add(&mut self, level: Level, amount: u64) {
        self.0[level as usize] += amount;
    }

    /// Replaces a level by a larger one.
    pub fn raise(&mut self, level: Level, amount: u64) {
        let held = &mut self.0[level as usize];
        *held = amount.max(*held);
    }
}

/// Adds its levels; `false` if the measured value was dropped.
type LevelSource = Box<dyn Fn(&mut Levels) -> bool + Send>;

static SOURCES: Mutex<Vec<LevelSource>> = Mutex::new(Vec::new());

/// Measures a value at each scrape, until it is dropped.
pub fn watch<T: Send + Sync + 'static>(
    measured: &Arc<T>,
    measure: impl Fn(&T, &mut Levels) + Send + 'static,
) {
    let measured: Weak<T> = Arc::downgrade(measured);
    let source = move |levels: &mut Levels| match measured.upgrade() {
        Some(measured) => {
            measure(&measured, levels);
            true
        }
        None => false,
    };
    let mut sources = SOURCES.lock().unwrap_or_else(PoisonError::into_inner);
    // Sources of dropped values are removed.
    sources.retain(|source| source(&mut Levels::default()));
    sources.push(Box::new(source));
}

/// Measures all sources, and sets the gauges.
pub(crate) fn measure() {
    let mut levels = Levels::default();
    let mut sources = SOURCES.lock().unwrap_or_else(PoisonError::into_inner);
    sources.retain(|source| source(&mut levels));
    drop(sources);
    for (level, name, labels) in ALL {
        gauge!(name, labels).set(levels.0[level as usize] as f64);
    }
}
