//! Catalogues in Qdrant, or in what speaks its protocol here. `QDRANT_TEST_URL`
//! names a real one to test with.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use recsys::{
    adapters::qdrant::{QdrantItemOptions, QdrantItemStore, QdrantPool, QdrantSettings},
    domain::tags::Canonicalizer,
};
use tokio::sync::OnceCell;

use super::qdrant::QdrantServer;

/// One server for all tests that only need collections of their own.
pub async fn shared_url() -> String {
    static SHARED: OnceCell<QdrantServer> = OnceCell::const_new();
    match std::env::var("QDRANT_TEST_URL") {
        Ok(url) => url,
        Err(_) => SHARED.get_or_init(QdrantServer::start).await.url(),
    }
}

/// Settings with a collection that no other test has, and whose time-outs do
/// not depend on the machine's speed.
pub fn own_settings() -> QdrantSettings {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    QdrantSettings {
        collection_name: format!("recsys-test-{}-{number}", std::process::id()),
        qdrant_timeout: Duration::from_secs(20),
        qdrant_connect_timeout: Duration::from_secs(20),
        ..QdrantSettings::default()
    }
}

pub fn store(url: &str, settings: &QdrantSettings) -> QdrantItemStore {
    store_with(url, settings, Canonicalizer::default())
}

pub fn store_with(
    url: &str,
    settings: &QdrantSettings,
    canonicalizer: Canonicalizer,
) -> QdrantItemStore {
    let options = QdrantItemOptions {
        collection: settings.collection_name.clone(),
        cache_max_bytes: settings.item_cache_max_bytes,
        cache_ttl: settings.item_cache_ttl,
        canonicalizer,
    };
    QdrantItemStore::new(QdrantPool::new(url, settings).unwrap(), options)
}

/// An empty catalogue of its own, for vectors of this size.
pub async fn empty(vector_size: usize) -> QdrantItemStore {
    let store = store(&shared_url().await, &own_settings());
    store.prepare(Some(vector_size)).await.unwrap();
    store
}

/// What an error says of itself, with its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        told.push_str(": ");
        told.push_str(&cause.to_string());
        next = cause.source();
    }
    told
}
