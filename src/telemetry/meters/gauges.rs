//! What is measured when someone asks, and not when it changes: how full pools,
//! caches and embedded stores are.
//!
//! Of one kind there may be several, such as a cache for each tenant: their sum
//! is told.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use metrics::gauge;

use crate::telemetry::meters::{
    CACHE_BYTES, CACHE_ENTRIES, DB_CONNECTIONS, DB_MAX_CONNECTIONS, DB_PENDING_REQUESTS,
    EMBEDDED_BYTES, EMBEDDED_MAX_BYTES,
};

/// Something that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Connections to Redis that wait for work.
    RedisIdle,
    /// Connections to Redis that are at work.
    RedisUsed,
    /// Most connections to Redis.
    RedisMax,
    /// Operations that wait for a connection to Redis.
    RedisPending,
    /// Memory of the items of Qdrant that are kept.
    ItemBytes,
    /// How many those are.
    ItemEntries,
    /// Memory of the event buffers of Redis that are kept.
    BufferBytes,
    /// How many those are.
    BufferEntries,
    /// Memory of the user models of Redis that are kept.
    ModelBytes,
    /// How many those are.
    ModelEntries,
    /// Memory of users' state without Redis.
    StateBytes,
    /// Most of it.
    StateMaxBytes,
    /// Memory of items without Qdrant.
    CatalogueBytes,
    /// Most of it.
    CatalogueMaxBytes,
}

const REDIS: (&str, &str) = ("db_system_name", "redis");

/// A level with the name and the labels of its metric.
type Named = (Level, &'static str, &'static [(&'static str, &'static str)]);

const ALL: [Named; 14] = [
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
];

/// The sums so far.
#[derive(Debug, Default)]
pub struct Levels([u64; ALL.len()]);

impl Levels {
    /// Adds to a sum.
    pub fn add(&mut self, level: Level, amount: u64) {
        self.0[level as usize] += amount;
    }
}

/// Tells its levels; `false` once what it measures is gone.
type Source = Box<dyn Fn(&mut Levels) -> bool + Send>;

static SOURCES: Mutex<Vec<Source>> = Mutex::new(Vec::new());

/// Has something measured whenever someone asks, for as long as it is there.
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
    // Those that are gone make room.
    sources.retain(|source| source(&mut Levels::default()));
    sources.push(Box::new(source));
}

/// Measures all.
pub(crate) fn measure() {
    let mut levels = Levels::default();
    let mut sources = SOURCES.lock().unwrap_or_else(PoisonError::into_inner);
    sources.retain(|source| source(&mut levels));
    drop(sources);
    for (level, name, labels) in ALL {
        gauge!(name, labels).set(levels.0[level as usize] as f64);
    }
}
